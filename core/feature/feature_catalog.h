// What a cache holds: sets, manifests, labels, profiles, names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/feature/feature_spec.h"
#include "core/feature/feature_store.h"
#include "core/feature/manifest.h"
#include "core/feature/profile.h"
#include "core/feature/unit_ledger.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// One set, opened. Parts that the opener may not use are null: `ledger` and `publisher` need
// OpenMode::kContribute.
struct OpenedSet {
  Digest256 id;
  std::shared_ptr<FeatureStore> store;
  std::shared_ptr<UnitLedger> ledger;
  std::shared_ptr<UnitPublisher> publisher;
};

enum class OpenMode { kRead, kContribute };

struct SetSummary {
  Digest256 id;
  std::vector<std::string> aliases;
  SetDescription description;
  std::vector<Digest256> manifests;  // that have at least one complete unit
  uint32_t num_view_seeds = 0;       // highest seed with a complete unit, plus 1
  uint64_t num_records = 0;          // OK
  uint64_t num_failed = 0;
  uint64_t stored_bytes = 0;
  std::vector<UnitMetadata> workers;  // distinct (device, versions, threads, micro-batch), with summed counts
};

struct FailureEntry {
  RecordKey key;
  std::string reason;
};

// What ClaimChoice answers: either a set, or who is to decide.
struct ChoiceClaim {
  std::optional<Digest256> set_id;
  std::string
      holder;  // the worker whose lease it is: the caller's own name means that the caller is to decide
};

// Thread-safe. Every identity is checked: what is returned for a digest has that digest.
class FeatureCatalog {
 public:
  virtual ~FeatureCatalog() = default;

  // Creates the set, or finds it: the first writer wins and its layout is returned. Idempotent.
  // FailedPrecondition: the set's profile is not in the cache, or does not fit the set (ProfileOfSet).
  virtual absl::StatusOr<SetDescription> CreateSet(const SetDescription& description) = 0;
  virtual absl::StatusOr<std::vector<SetSummary>> ListSets() = 0;
  // NotFound lists what there is. FailedPrecondition: another format version (both told).
  virtual absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) = 0;
  virtual absl::StatusOr<std::vector<FailureEntry>> ListFailures(const Digest256& set_id, size_t limit) = 0;

  virtual absl::Status PutManifest(const Manifest& manifest) = 0;
  virtual absl::StatusOr<std::shared_ptr<const Manifest>> GetManifest(const Digest256& digest) = 0;
  virtual absl::StatusOr<std::vector<Digest256>> ListManifests() = 0;

  // NotFound: no such manifest. InvalidArgument: not one label per occurrence, not ascending within a key.
  virtual absl::Status PutLabels(const Digest256& manifest, const LabelTable& labels) = 0;
  // NotFound: the manifest has no labels. With several tables, the one that was put last.
  virtual absl::StatusOr<LabelTable> GetLabels(const Digest256& manifest) = 0;

  // Idempotent.
  virtual absl::Status PutProfile(const FeatureProfile& profile) = 0;
  // NotFound lists what there is. DataLoss: what is held is damaged.
  virtual absl::StatusOr<std::shared_ptr<const FeatureProfile>> GetProfile(const Digest256& digest) = 0;
  virtual absl::StatusOr<std::vector<Digest256>> ListProfiles() = 0;

  // Which set a request stands for, where a codec is asked for by its error: decided by the first worker to
  // come. Not decided yet: the caller gets a lease on the decision, or has it renewed, unless another worker
  // holds one. A duration of zero gives a lease back. InvalidArgument: a worker without a name, a lease above
  // kMaxLeaseDuration.
  virtual absl::StatusOr<ChoiceClaim> ClaimChoice(const Digest256& request, const std::string& worker,
                                                  absl::Duration lease_duration) = 0;
  // The request stands for this set from now on, and the lease ends. The first decision counts, unless
  // `replace`: returns the set that counts.
  virtual absl::StatusOr<Digest256> DecideChoice(const Digest256& request, const Digest256& set_id,
                                                 bool replace) = 0;

  // Readable names. A name stands for one digest; another target for an existing name needs `replace`
  // (AlreadyExists without). Names: [a-z0-9][a-z0-9._-]{0,63}. RemoveName: NotFound when there is no such
  // name.
  virtual absl::Status SetName(const std::string& name, const Digest256& target, bool replace) = 0;
  virtual absl::Status RemoveName(const std::string& name) = 0;
  virtual absl::StatusOr<std::map<std::string, Digest256>> ListNames() = 0;
};

// The one set meant by `text`: an alias, a set id or at least 8 digits of one; empty when there is only one
// set. NotFound and FailedPrecondition (several, none named) list what there is, with the flag to use.
absl::StatusOr<SetSummary> ResolveSet(FeatureCatalog& catalog, absl::string_view text);
// The same for a manifest of that set.
absl::StatusOr<Digest256> ResolveManifest(FeatureCatalog& catalog, const SetSummary& set,
                                          absl::string_view text);
// The one profile meant by `text`, in the same way.
absl::StatusOr<std::shared_ptr<const FeatureProfile>> ResolveProfile(FeatureCatalog& catalog,
                                                                     absl::string_view text);
// NotFound, with what there is: what GetProfile answers in every implementation that holds profiles itself.
absl::Status NoSuchProfile(const Digest256& digest, const std::vector<Digest256>& known);
// The profile that a set is coded with; null where its codec needs none. FailedPrecondition: the cache does
// not hold it, or it is of another feature id, or has not the set's levels (told).
absl::StatusOr<std::shared_ptr<const FeatureProfile>> ProfileOfSet(FeatureCatalog& catalog,
                                                                   const SetDescription& description);
// OK unless `name` is not a valid name (InvalidArgument tells the rule).
absl::Status ValidateName(absl::string_view name);
// So that a name which cannot be given is told before the work. OK: it can, or it is empty. InvalidArgument as
// ValidateName; AlreadyExists, with the remedy: it stands for something.
absl::Status CheckNameIsFree(FeatureCatalog& catalog, const std::string& name);
// What ClaimChoice refuses in every implementation.
absl::Status ValidateChoiceClaim(const std::string& worker, absl::Duration lease_duration);
// What PutLabels refuses in every implementation.
absl::Status ValidateLabels(const Manifest& manifest, const LabelTable& labels);

}  // namespace afterimage
