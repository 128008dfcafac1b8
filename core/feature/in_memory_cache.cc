#include "core/feature/in_memory_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/in_memory_set.h"

namespace afterimage {

InMemoryFeatureCatalog::InMemoryFeatureCatalog(Options options)
    : options_(std::move(options)),
      manifests_(std::make_shared<Manifests>()),
      manifests_mutex_(std::make_shared<std::mutex>()) {}

InMemoryFeatureCatalog::~InMemoryFeatureCatalog() = default;

absl::StatusOr<SetDescription> InMemoryFeatureCatalog::CreateSet(const SetDescription& description) {
  AFTERIMAGE_RETURN_IF_ERROR(description.Validate());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto profile, ProfileOfSet(*this, description));
  std::lock_guard lock(mutex_);
  std::shared_ptr<InMemorySet>& set = sets_[description.set.Id()];
  if (set == nullptr) {
    auto find_manifest = [manifests = manifests_, mutex = manifests_mutex_](
                             const Digest256& digest) -> absl::StatusOr<std::shared_ptr<const Manifest>> {
      std::lock_guard manifests_lock(*mutex);
      const auto found = manifests->find(digest);
      if (found == manifests->end())
        return absl::NotFoundError(absl::StrCat("no manifest ", digest.Hex(), " in the cache"));
      return found->second;
    };
    set = std::make_shared<InMemorySet>(description, profile, options_.clock, options_.max_bytes_per_set,
                                        std::move(find_manifest));
  }
  return set->description();
}

absl::StatusOr<std::vector<SetSummary>> InMemoryFeatureCatalog::ListSets() {
  std::lock_guard lock(mutex_);
  std::vector<SetSummary> summaries;
  for (const auto& [id, set] : sets_) {
    SetSummary& summary = summaries.emplace_back(set->Summary());
    for (const auto& [name, target] : names_) {
      if (target == id) summary.aliases.push_back(name);
    }
  }
  return summaries;
}

absl::StatusOr<std::shared_ptr<InMemorySet>> InMemoryFeatureCatalog::FindSet(const Digest256& set_id) {
  std::lock_guard lock(mutex_);
  const auto found = sets_.find(set_id);
  if (found != sets_.end()) return found->second;
  std::string there_is;
  for (const auto& [id, set] : sets_) absl::StrAppend(&there_is, "\n  ", id.Hex());
  return absl::NotFoundError(absl::StrCat(
      "no set ", set_id.Hex(), " in the cache; there is: ", there_is.empty() ? "nothing" : there_is));
}

absl::StatusOr<OpenedSet> InMemoryFeatureCatalog::OpenSet(const Digest256& set_id, OpenMode mode) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<InMemorySet> set, FindSet(set_id));
  return set->Open(mode);
}

absl::StatusOr<std::vector<FailureEntry>> InMemoryFeatureCatalog::ListFailures(const Digest256& set_id,
                                                                               size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<InMemorySet> set, FindSet(set_id));
  return set->Failures(limit);
}

absl::Status InMemoryFeatureCatalog::PutManifest(const Manifest& manifest) {
  std::lock_guard lock(*manifests_mutex_);
  manifests_->try_emplace(manifest.digest(), std::make_shared<const Manifest>(manifest));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Manifest>> InMemoryFeatureCatalog::GetManifest(const Digest256& digest) {
  std::lock_guard lock(*manifests_mutex_);
  const auto found = manifests_->find(digest);
  if (found == manifests_->end())
    return absl::NotFoundError(absl::StrCat("no manifest ", digest.Hex(), " in the cache"));
  return found->second;
}

absl::StatusOr<std::vector<Digest256>> InMemoryFeatureCatalog::ListManifests() {
  std::lock_guard lock(*manifests_mutex_);
  std::vector<Digest256> digests;
  for (const auto& [digest, manifest] : *manifests_) digests.push_back(digest);
  return digests;
}

absl::Status InMemoryFeatureCatalog::PutLabels(const Digest256& manifest, const LabelTable& labels) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const Manifest> of, GetManifest(manifest));
  AFTERIMAGE_RETURN_IF_ERROR(ValidateLabels(*of, labels));
  std::lock_guard lock(mutex_);
  labels_[manifest] = labels;
  return absl::OkStatus();
}

absl::StatusOr<LabelTable> InMemoryFeatureCatalog::GetLabels(const Digest256& manifest) {
  std::lock_guard lock(mutex_);
  const auto found = labels_.find(manifest);
  if (found == labels_.end())
    return absl::NotFoundError(absl::StrCat("manifest ", manifest.Hex(), " has no labels"));
  return found->second;
}

absl::Status InMemoryFeatureCatalog::PutProfile(const FeatureProfile& profile) {
  std::lock_guard lock(mutex_);
  profiles_.try_emplace(profile.digest(), std::make_shared<const FeatureProfile>(profile));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> InMemoryFeatureCatalog::GetProfile(
    const Digest256& digest) {
  {
    std::lock_guard lock(mutex_);
    const auto found = profiles_.find(digest);
    if (found != profiles_.end()) return found->second;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> known, ListProfiles());
  return NoSuchProfile(digest, known);
}

absl::StatusOr<std::vector<Digest256>> InMemoryFeatureCatalog::ListProfiles() {
  std::lock_guard lock(mutex_);
  std::vector<Digest256> digests;
  for (const auto& [digest, profile] : profiles_) digests.push_back(digest);
  return digests;
}

absl::StatusOr<ChoiceClaim> InMemoryFeatureCatalog::ClaimChoice(const Digest256& request,
                                                                const std::string& worker,
                                                                absl::Duration lease_duration) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateChoiceClaim(worker, lease_duration));
  std::lock_guard lock(mutex_);
  Choice& choice = choices_[request];
  if (choice.set_id.has_value()) return ChoiceClaim{choice.set_id, ""};
  const absl::Time now = options_.clock();
  if (choice.worker == worker || choice.expires <= now) {
    choice.worker = worker;
    choice.expires = now + lease_duration;
  }
  return ChoiceClaim{std::nullopt, choice.worker};
}

absl::StatusOr<Digest256> InMemoryFeatureCatalog::DecideChoice(const Digest256& request,
                                                               const Digest256& set_id, bool replace) {
  std::lock_guard lock(mutex_);
  Choice& choice = choices_[request];
  if (!choice.set_id.has_value() || replace) choice = Choice{set_id, "", absl::InfinitePast()};
  return *choice.set_id;
}

absl::Status InMemoryFeatureCatalog::SetName(const std::string& name, const Digest256& target, bool replace) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateName(name));
  std::lock_guard lock(mutex_);
  const auto [entry, is_new] = names_.try_emplace(name, target);
  if (is_new || entry->second == target) return absl::OkStatus();
  if (!replace) {
    return absl::AlreadyExistsError(absl::StrCat("the name \"", name, "\" stands for ", entry->second.Hex(),
                                                 "; replace it to give it to ", target.Hex()));
  }
  entry->second = target;
  return absl::OkStatus();
}

absl::Status InMemoryFeatureCatalog::RemoveName(const std::string& name) {
  std::lock_guard lock(mutex_);
  if (names_.erase(name) == 1) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no name \"", name, "\""));
}

absl::StatusOr<std::map<std::string, Digest256>> InMemoryFeatureCatalog::ListNames() {
  std::lock_guard lock(mutex_);
  return names_;
}

absl::Status InMemoryFeatureCatalog::DamageForTest(const Digest256& set_id, const RecordKey& key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<InMemorySet> set, FindSet(set_id));
  return set->Damage(key);
}

}  // namespace afterimage
