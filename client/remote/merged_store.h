// The records of one set on several servers.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "client/remote/server_group.h"
#include "core/feature/feature_store.h"

namespace afterimage {

// A record that is missing or damaged on one server is asked of the next: MISSING is final when every server
// has said it. Thread-safe. Unavailable: a server is away that might have a record which the others lack.
class MergedStore : public FeatureStore {
 public:
  // `profile`: the set's, null where its codec needs none.
  MergedStore(std::shared_ptr<ServerGroup> servers, const Digest256& set_id, SetDescription description,
              std::shared_ptr<const FeatureProfile> profile)
      : servers_(std::move(servers)),
        set_id_(set_id),
        description_(std::move(description)),
        profile_(std::move(profile)),
        stores_(servers_->size()) {}

  const SetDescription& description() const override { return description_; }
  const FeatureProfile* profile() const override { return profile_.get(); }
  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink) override;
  absl::Status Refresh() override { return absl::OkStatus(); }

  // One record, of whichever server has it; `first` is asked first.
  absl::StatusOr<RecordResult> ReadFrom(size_t first, const RecordKey& key, const Selection& selection,
                                        const MaskChoice& mask);

  // One record, of this server and no other.
  absl::StatusOr<RecordResult> ReadOn(size_t server, const RecordKey& key, const Selection& selection,
                                      const MaskChoice& mask);

 private:
  // Asks the servers, from `first` on and round, for those of `results` that are MISSING or DAMAGED.
  absl::Status Complete(size_t first, std::span<const RecordKey> keys, const Selection& selection,
                        const MaskChoice& mask, std::vector<RecordResult>& results);

  // The set on one server, opened once.
  absl::StatusOr<std::shared_ptr<FeatureStore>> StoreOn(size_t index, ServerGroup::Server& server);

  const std::shared_ptr<ServerGroup> servers_;
  const Digest256 set_id_;
  const SetDescription description_;
  const std::shared_ptr<const FeatureProfile> profile_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<FeatureStore>> stores_;  // null: not opened yet
};

}  // namespace afterimage
