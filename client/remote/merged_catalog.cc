#include "client/remote/merged_catalog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/remote/merged_store.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

template <typename T>
void AddNew(const std::vector<T>& more, std::vector<T>& all) {
  for (const T& one : more) {
    if (std::ranges::find(all, one) == all.end()) all.push_back(one);
  }
}

// What two servers hold of one set.
void MergeInto(const SetSummary& other, SetSummary& set) {
  AddNew(other.aliases, set.aliases);
  AddNew(other.manifests, set.manifests);
  set.num_view_seeds = std::max(set.num_view_seeds, other.num_view_seeds);
  if (other.num_records <= set.num_records) return;
  set.num_records = other.num_records;
  set.num_failed = other.num_failed;
  set.stored_bytes = other.stored_bytes;
  set.workers = other.workers;
}

}  // namespace

absl::Status MergedCatalog::RefuseToWrite() const {
  return absl::FailedPreconditionError(absl::StrCat(
      "several servers are for reading: to write, name one of them, as in --cache ", servers_->address(0)));
}

absl::Status MergedCatalog::AskAll(const std::function<absl::Status(FeatureCatalog&)>& ask) {
  absl::Status failure;
  bool answered = false;
  for (size_t i = 0; i < servers_->size(); ++i) {
    absl::StatusOr<ServerGroup::Server> server = servers_->Get(i);
    const absl::Status status = server.ok() ? ask(*server->catalog) : server.status();
    answered = answered || status.ok();
    if (!status.ok() && !AnotherServerMayAnswer(status)) return status;
    if (!status.ok() && failure.ok()) failure = status;
  }
  return answered ? absl::OkStatus() : failure;
}

absl::StatusOr<std::vector<SetSummary>> MergedCatalog::ListSets() {
  std::map<Digest256, SetSummary> sets;
  AFTERIMAGE_RETURN_IF_ERROR(AskAll([&](FeatureCatalog& catalog) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<SetSummary> some, catalog.ListSets());
    for (const SetSummary& set : some) {
      const auto [known, is_new] = sets.emplace(set.id, set);
      if (!is_new) MergeInto(set, known->second);
    }
    return absl::OkStatus();
  }));
  std::vector<SetSummary> all;
  for (auto& [id, set] : sets) all.push_back(std::move(set));
  return all;
}

absl::StatusOr<OpenedSet> MergedCatalog::OpenSet(const Digest256& set_id, OpenMode mode) {
  if (mode != OpenMode::kRead) return RefuseToWrite();
  OpenedSet opened;
  AFTERIMAGE_RETURN_IF_ERROR(servers_->AskEach(0, [&](size_t, ServerGroup::Server& server) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(opened, server.catalog->OpenSet(set_id, mode));
    return absl::OkStatus();
  }));
  const SetDescription description = opened.store->description();
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const FeatureProfile> profile,
                              ProfileOfSet(*this, description));
  opened.store = std::make_shared<MergedStore>(servers_, set_id, description, std::move(profile));
  return opened;
}

absl::StatusOr<std::vector<FailureEntry>> MergedCatalog::ListFailures(const Digest256& set_id, size_t limit) {
  std::map<RecordKey, std::string> failures;
  AFTERIMAGE_RETURN_IF_ERROR(AskAll([&](FeatureCatalog& catalog) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<FailureEntry> some, catalog.ListFailures(set_id, limit));
    for (const FailureEntry& failure : some) failures.emplace(failure.key, failure.reason);
    return absl::OkStatus();
  }));
  std::vector<FailureEntry> all;
  for (const auto& [key, reason] : failures) {
    if (all.size() < limit) all.push_back({key, reason});
  }
  return all;
}

absl::StatusOr<std::shared_ptr<const Manifest>> MergedCatalog::GetManifest(const Digest256& digest) {
  std::shared_ptr<const Manifest> manifest;
  AFTERIMAGE_RETURN_IF_ERROR(servers_->AskEach(0, [&](size_t, ServerGroup::Server& server) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(manifest, server.catalog->GetManifest(digest));
    return absl::OkStatus();
  }));
  return manifest;
}

absl::StatusOr<std::vector<Digest256>> MergedCatalog::ListManifests() {
  std::vector<Digest256> all;
  AFTERIMAGE_RETURN_IF_ERROR(AskAll([&](FeatureCatalog& catalog) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> some, catalog.ListManifests());
    AddNew(some, all);
    return absl::OkStatus();
  }));
  return all;
}

absl::StatusOr<LabelTable> MergedCatalog::GetLabels(const Digest256& manifest) {
  LabelTable labels;
  AFTERIMAGE_RETURN_IF_ERROR(servers_->AskEach(0, [&](size_t, ServerGroup::Server& server) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(labels, server.catalog->GetLabels(manifest));
    return absl::OkStatus();
  }));
  return labels;
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> MergedCatalog::GetProfile(const Digest256& digest) {
  std::shared_ptr<const FeatureProfile> profile;
  AFTERIMAGE_RETURN_IF_ERROR(servers_->AskEach(0, [&](size_t, ServerGroup::Server& server) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(profile, server.catalog->GetProfile(digest));
    return absl::OkStatus();
  }));
  return profile;
}

absl::StatusOr<std::vector<Digest256>> MergedCatalog::ListProfiles() {
  std::vector<Digest256> all;
  AFTERIMAGE_RETURN_IF_ERROR(AskAll([&](FeatureCatalog& catalog) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> some, catalog.ListProfiles());
    AddNew(some, all);
    return absl::OkStatus();
  }));
  return all;
}

absl::StatusOr<std::map<std::string, Digest256>> MergedCatalog::ListNames() {
  std::map<std::string, Digest256> names;
  AFTERIMAGE_RETURN_IF_ERROR(AskAll([&](FeatureCatalog& catalog) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto some, catalog.ListNames());
    names.insert(some.begin(), some.end());
    return absl::OkStatus();
  }));
  return names;
}

absl::StatusOr<SetDescription> MergedCatalog::CreateSet(const SetDescription&) { return RefuseToWrite(); }
absl::Status MergedCatalog::PutManifest(const Manifest&) { return RefuseToWrite(); }
absl::Status MergedCatalog::PutLabels(const Digest256&, const LabelTable&) { return RefuseToWrite(); }
absl::Status MergedCatalog::PutProfile(const FeatureProfile&) { return RefuseToWrite(); }
absl::StatusOr<ChoiceClaim> MergedCatalog::ClaimChoice(const Digest256&, const std::string&, absl::Duration) {
  return RefuseToWrite();
}
absl::StatusOr<Digest256> MergedCatalog::DecideChoice(const Digest256&, const Digest256&, bool) {
  return RefuseToWrite();
}
absl::Status MergedCatalog::SetName(const std::string&, const Digest256&, bool) { return RefuseToWrite(); }
absl::Status MergedCatalog::RemoveName(const std::string&) { return RefuseToWrite(); }

}  // namespace afterimage
