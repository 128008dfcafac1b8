#include "client/remote/server_group.h"

#include <utility>

namespace afterimage {
namespace {

bool IsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

bool AnotherServerMayAnswer(const absl::Status& status) {
  return IsAway(status) || absl::IsNotFound(status) || absl::IsFailedPrecondition(status) ||
         absl::IsDataLoss(status);
}

absl::StatusOr<ServerGroup::Server> ServerGroup::Get(size_t index) {
  {
    std::lock_guard lock(mutex_);
    if (servers_[index] != nullptr) return *servers_[index];
  }
  // Without the lock: a server that is down takes seconds, and the others are wanted meanwhile.
  absl::StatusOr<Server> server = entries_[index].connect();
  if (!server.ok()) return server.status();
  std::lock_guard lock(mutex_);
  if (servers_[index] == nullptr) servers_[index] = std::make_shared<Server>(*std::move(server));
  return *servers_[index];
}

absl::Status ServerGroup::AskEach(size_t first, const std::function<absl::Status(size_t, Server&)>& ask) {
  absl::Status failure;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const size_t index = (first + i) % entries_.size();
    absl::StatusOr<Server> server = Get(index);
    const absl::Status status = server.ok() ? ask(index, *server) : server.status();
    if (status.ok()) return status;
    if (!AnotherServerMayAnswer(status)) return status;
    if (failure.ok() || (IsAway(status) && !IsAway(failure))) failure = status;
  }
  // What waits for a server waits for Unavailable.
  if (absl::IsDeadlineExceeded(failure)) return absl::UnavailableError(failure.message());
  return failure;
}

}  // namespace afterimage
