#include "client/remote/merged_store.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Held until they are complete, since the sink wants them in order.
constexpr size_t kRecordsAtOnce = 32;

bool IsWanted(const RecordResult& result) {
  return result.state == RecordState::kMissing || result.state == RecordState::kDamaged;
}

// Between two servers that have no record: bytes that were there and are damaged say more than none.
bool IsBetter(const RecordResult& result, const RecordResult& known) {
  return !IsWanted(result) || (result.state == RecordState::kDamaged && known.state == RecordState::kMissing);
}

}  // namespace

absl::Status MergedStore::Read(std::span<const RecordKey> keys, const Selection& selection,
                               const MaskChoice& mask, const RecordSink& sink) {
  for (size_t begin = 0; begin < keys.size(); begin += kRecordsAtOnce) {
    const std::span<const RecordKey> some =
        keys.subspan(begin, std::min(kRecordsAtOnce, keys.size() - begin));
    std::vector<RecordResult> results(some.size());
    AFTERIMAGE_RETURN_IF_ERROR(Complete(0, some, selection, mask, results));
    for (size_t i = 0; i < some.size(); ++i) {
      if (!sink(begin + i, std::move(results[i])))
        return absl::CancelledError("the reader wanted no more records");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RecordResult> MergedStore::ReadFrom(size_t first, const RecordKey& key,
                                                   const Selection& selection, const MaskChoice& mask) {
  std::vector<RecordResult> results(1);
  AFTERIMAGE_RETURN_IF_ERROR(Complete(first, {&key, 1}, selection, mask, results));
  return std::move(results.front());
}

absl::StatusOr<RecordResult> MergedStore::ReadOn(size_t server, const RecordKey& key,
                                                 const Selection& selection, const MaskChoice& mask) {
  AFTERIMAGE_ASSIGN_OR_RETURN(ServerGroup::Server opened, servers_->Get(server));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<FeatureStore> store, StoreOn(server, opened));
  RecordResult record;
  AFTERIMAGE_RETURN_IF_ERROR(store->Read({&key, 1}, selection, mask, [&](size_t, RecordResult result) {
    record = std::move(result);
    return true;
  }));
  return record;
}

absl::StatusOr<std::shared_ptr<FeatureStore>> MergedStore::StoreOn(size_t index,
                                                                   ServerGroup::Server& server) {
  {
    std::lock_guard lock(mutex_);
    if (stores_[index] != nullptr) return stores_[index];
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set, server.catalog->OpenSet(set_id_, OpenMode::kRead));
  std::lock_guard lock(mutex_);
  stores_[index] = set.store;
  return set.store;
}

absl::Status MergedStore::Complete(size_t first, std::span<const RecordKey> keys, const Selection& selection,
                                   const MaskChoice& mask, std::vector<RecordResult>& results) {
  bool answered = false;
  const absl::Status status =
      servers_->AskEach(first, [&](size_t index, ServerGroup::Server& server) -> absl::Status {
        std::vector<size_t> places;
        std::vector<RecordKey> wanted;
        for (size_t i = 0; i < keys.size(); ++i) {
          if (!IsWanted(results[i])) continue;
          places.push_back(i);
          wanted.push_back(keys[i]);
        }
        AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<FeatureStore> store, StoreOn(index, server));
        AFTERIMAGE_RETURN_IF_ERROR(store->Read(wanted, selection, mask, [&](size_t i, RecordResult result) {
          RecordResult& known = results[places[i]];
          if (IsBetter(result, known)) known = std::move(result);
          return true;
        }));
        answered = true;
        // What is still wanted may be elsewhere: NotFound sends AskEach on.
        return std::ranges::any_of(results, IsWanted) ? absl::NotFoundError("some records are not here")
                                                      : absl::OkStatus();
      });
  // A server that is away might have them: the caller waits for it. Without one, what all have said stands.
  if (absl::IsUnavailable(status)) return status;
  return answered ? absl::OkStatus() : status;
}

}  // namespace afterimage
