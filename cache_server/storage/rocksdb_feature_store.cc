#include "cache_server/storage/rocksdb_feature_store.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/store_keys.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<RecordResult> RocksDbFeatureStore::ReadRecord(const RecordKey& key, const Selection& selection,
                                                             const MaskChoice& mask) const {
  absl::StatusOr<std::optional<PinnedBytes>> value = session_->Get(RecordStoreKey(key));
  if (absl::IsDataLoss(value.status())) {
    return RecordResult{
        .state = RecordState::kDamaged,
        .reason = absl::StrCat("record ", key.ToString(), " is damaged: ", value.status().message())};
  }
  if (!value.ok()) return WithContext(value.status(), absl::StrCat("record ", key.ToString()));
  const bool found = value->has_value();
  return ResultFromStored(description(), key, found ? **value : PinnedBytes(), found, selection, mask,
                          profile());
}

absl::Status RocksDbFeatureStore::Read(std::span<const RecordKey> keys, const Selection& selection,
                                       const MaskChoice& mask, const RecordSink& sink) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateSelection(description(), selection));
  AFTERIMAGE_RETURN_IF_ERROR(ValidateMaskChoice(description(), selection, mask));
  for (size_t i = 0; i < keys.size(); ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(RecordResult result, ReadRecord(keys[i], selection, mask));
    if (result.state == RecordState::kDamaged && session_->contributes()) {
      // The read goes on if the note cannot be taken: verify will find the damage again.
      session_->damage().Add({keys[i]}).IgnoreError();
    }
    if (!sink(i, std::move(result))) return absl::CancelledError("the reader ended the read");
  }
  return absl::OkStatus();
}

}  // namespace afterimage
