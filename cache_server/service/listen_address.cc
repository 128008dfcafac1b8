#include "cache_server/service/listen_address.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace afterimage {

absl::StatusOr<ListenAddress> ListenAddress::Parse(const std::string& text) {
  ListenAddress address;
  address.grpc_uri = text;
  if (absl::StartsWith(text, "unix:")) {
    address.socket_path = text.substr(5);
    if (!absl::StartsWith(address.socket_path, "/") ||
        address.socket_path.size() >= sizeof(sockaddr_un::sun_path)) {
      return absl::InvalidArgumentError(absl::StrCat("listen address ", text,
                                                     ": a socket file needs an absolute path of at most ",
                                                     sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &address.port) ||
      address.port < 0 || address.port > 65535 || absl::StrContains(text, "/")) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen address ", text, ": expected HOST:PORT, as in 127.0.0.1:4747, or unix:/PATH"));
  }
  address.host = text.substr(0, colon);
  return address;
}

bool ListenAddress::IsLocal() const {
  return !socket_path.empty() || host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

absl::Status ListenAddress::CheckFree() const {
  if (socket_path.empty()) return absl::OkStatus();  // the system refuses a port that is in use
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return absl::OkStatus();  // then listening fails too, and says why
  sockaddr_un target = {};
  target.sun_family = AF_UNIX;
  std::memcpy(target.sun_path, socket_path.c_str(), socket_path.size() + 1);
  const bool answered = connect(descriptor, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0;
  close(descriptor);
  if (!answered) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", grpc_uri, ": another server answers there"));
}

}  // namespace afterimage
