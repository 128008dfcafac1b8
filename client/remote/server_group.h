// Several servers that hold the same sets, or parts of them.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/remote/remote_usage.h"
#include "core/feature/feature_catalog.h"
#include "core/order/epoch_source.h"

namespace afterimage {

// Connects to each when it is first wanted, so that one that is down does not keep the others from being
// read. Thread-safe.
class ServerGroup {
 public:
  struct Server {
    std::shared_ptr<FeatureCatalog> catalog;
    std::shared_ptr<EpochSource> epochs;
    std::function<absl::StatusOr<ServerUsage>()> usage;
  };
  struct Entry {
    std::string address;
    std::function<absl::StatusOr<Server>()> connect;  // Unavailable: it is down
  };

  // At least one entry.
  explicit ServerGroup(std::vector<Entry> entries)
      : entries_(std::move(entries)), servers_(entries_.size()) {}

  size_t size() const { return entries_.size(); }
  const std::string& address(size_t index) const { return entries_[index].address; }
  // Connects unless it has; errors of `connect`.
  absl::StatusOr<Server> Get(size_t index);

  // Calls `ask` for one server after the other, from `first` on and round, until one answers. Another server
  // is asked after Unavailable, DeadlineExceeded, NotFound, FailedPrecondition and DataLoss; any other error
  // is returned at once. When none answers: Unavailable if any was away (it might have), naming it, else the
  // first error.
  absl::Status AskEach(size_t first, const std::function<absl::Status(size_t index, Server& server)>& ask);

 private:
  const std::vector<Entry> entries_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Server>> servers_;  // null: not connected yet
};

// Whether another server may answer where one ended with this.
bool AnotherServerMayAnswer(const absl::Status& status);

}  // namespace afterimage
