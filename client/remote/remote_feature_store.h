// FeatureStore over gRPC.
#pragma once

#include <memory>

#include "client/remote/connection.h"
#include "core/feature/feature_store.h"

namespace afterimage {

// The records of one set of a server. Thread-safe. A read that loses the server goes on at the record it had
// reached when the server answers again within the connection's retry_for, and ends with Unavailable
// otherwise.
class RemoteFeatureStore : public FeatureStore {
 public:
  RemoteFeatureStore(std::shared_ptr<Connection> connection, const Digest256& set_id,
                     SetDescription description, std::shared_ptr<const FeatureProfile> profile);
  ~RemoteFeatureStore() override;

  const SetDescription& description() const override { return description_; }
  const FeatureProfile* profile() const override { return profile_.get(); }
  absl::Status Read(std::span<const RecordKey> keys, const Selection& selection, const MaskChoice& mask,
                    const RecordSink& sink) override;
  // The server always sees what it has.
  absl::Status Refresh() override { return absl::OkStatus(); }

 private:
  struct Stub;

  // One call for keys[begin, end); moves `begin` on as results arrive. `refused`: the sink has ended the
  // read.
  absl::Status ReadOnce(std::span<const RecordKey> keys, size_t& begin, size_t end,
                        const Selection& selection, const MaskChoice& mask, const RecordSink& sink,
                        bool& refused);

  const std::shared_ptr<Connection> connection_;
  const Digest256 set_id_;
  const SetDescription description_;
  const std::shared_ptr<const FeatureProfile> profile_;
  const std::unique_ptr<Stub> stub_;
};

}  // namespace afterimage
