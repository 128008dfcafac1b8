// The catalog of several servers, for reading.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/remote/server_group.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// What any of the servers has. A set that several hold is one, with the counts of the one that has most of
// it; its records come from whichever server has them. Whatever writes is FailedPrecondition: a writer names
// one server. Thread-safe.
class MergedCatalog : public FeatureCatalog {
 public:
  explicit MergedCatalog(std::shared_ptr<ServerGroup> servers) : servers_(std::move(servers)) {}

  absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) override;
  // Of the servers that answer; Unavailable when none does.
  absl::StatusOr<std::vector<SetSummary>> ListSets() override;
  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override;
  absl::StatusOr<std::vector<FailureEntry>> ListFailures(const Digest256& set_id, size_t limit) override;

  absl::Status PutManifest(const Manifest& manifest) override;
  absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const Digest256& digest) override;
  absl::StatusOr<std::vector<Digest256>> ListManifests() override;

  absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels) override;
  absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) override;

  absl::Status PutProfile(const FeatureProfile& profile) override;
  absl::StatusOr<std::shared_ptr<const FeatureProfile>> GetProfile(const Digest256& digest) override;
  absl::StatusOr<std::vector<Digest256>> ListProfiles() override;

  absl::StatusOr<ChoiceClaim> ClaimChoice(const Digest256& request, const std::string& worker,
                                          absl::Duration lease_duration) override;
  absl::StatusOr<Digest256> DecideChoice(const Digest256& request, const Digest256& set_id,
                                         bool replace) override;

  absl::Status SetName(const std::string& name, const Digest256& target, bool replace) override;
  absl::Status RemoveName(const std::string& name) override;
  // The first server's name wins where two differ.
  absl::StatusOr<std::map<std::string, Digest256>> ListNames() override;

 private:
  absl::Status RefuseToWrite() const;
  // Asks every server; OK if one answered.
  absl::Status AskAll(const std::function<absl::Status(FeatureCatalog&)>& ask);

  const std::shared_ptr<ServerGroup> servers_;
};

}  // namespace afterimage
