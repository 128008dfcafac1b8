// Records of a set in a folder.
#pragma once

#include <memory>

#include "cache_server/storage/set_session.h"
#include "core/feature/feature_store.h"

namespace afterimage {

// Blocks are handed out where RocksDB read them, not copied; they keep the database open. Reads run in the
// caller's thread: who wants several at once calls from several threads. A contributor notes damaged records
// for the next claim.
class RocksDbFeatureStore : public FeatureStore {
 public:
  // `profile`: null where the set's codec needs none.
  RocksDbFeatureStore(std::shared_ptr<SetSession> session, std::shared_ptr<const FeatureProfile> profile)
      : session_(std::move(session)), profile_(std::move(profile)) {}

  const SetDescription& description() const override { return session_->description(); }
  const FeatureProfile* profile() const override { return profile_.get(); }
  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink) override;
  absl::Status Refresh() override { return session_->Refresh(); }

 private:
  absl::StatusOr<RecordResult> ReadRecord(const RecordKey& key, const Selection& selection,
                                          const MaskChoice& mask) const;

  const std::shared_ptr<SetSession> session_;
  const std::shared_ptr<const FeatureProfile> profile_;
};

}  // namespace afterimage
