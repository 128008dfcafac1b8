// FeatureCatalog over gRPC.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/remote/connection.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// The catalog of a server. Sets that it opens share the connection, and may outlive the catalog. Thread-safe.
// Beside the errors of FeatureCatalog every call may end with Unavailable (no server at the address, or it is
// draining) and DeadlineExceeded.
class RemoteCatalog : public FeatureCatalog {
 public:
  explicit RemoteCatalog(std::shared_ptr<Connection> connection);
  ~RemoteCatalog() override;

  absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) override;
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
  absl::StatusOr<std::map<std::string, Digest256>> ListNames() override;

 private:
  struct Stub;

  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace afterimage
