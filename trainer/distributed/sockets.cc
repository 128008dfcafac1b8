#include "trainer/distributed/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int Release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<Addresses> Resolve(const std::string& host, uint16_t port, int type) {
  addrinfo hints = {};
  hints.ai_socktype = type;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &found);
  if (error == EAI_AGAIN)
    return absl::UnavailableError(absl::StrCat("host ", host, ": ", gai_strerror(error)));
  if (error != 0) return absl::InvalidArgumentError(absl::StrCat("host ", host, ": ", gai_strerror(error)));
  return Addresses(found, &freeaddrinfo);
}

std::string Unreachable(const std::string& host, uint16_t port, int error) {
  return absl::StrCat(host, ":", port, ": ", std::strerror(error));
}

}  // namespace

absl::StatusOr<BoundSocket> BindTcp(uint16_t port) {
  // One socket for both families where the machine has IPv6.
  const auto attempt = [port](int family) -> absl::StatusOr<BoundSocket> {
    Descriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.get() < 0) return absl::UnimplementedError(std::strerror(errno));
    const int on = 1, off = 0;
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));  // over connections in TIME_WAIT
    sockaddr_storage address = {};
    socklen_t length = 0;
    if (family == AF_INET6) {
      setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
      auto* const in6 = reinterpret_cast<sockaddr_in6*>(&address);
      in6->sin6_family = AF_INET6;
      in6->sin6_port = htons(port);
      length = sizeof(sockaddr_in6);
    } else {
      auto* const in = reinterpret_cast<sockaddr_in*>(&address);
      in->sin_family = AF_INET;
      in->sin_port = htons(port);
      length = sizeof(sockaddr_in);
    }
    if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) {
      if (errno == EADDRINUSE) {
        return absl::ResourceExhaustedError(
            absl::StrCat("port ", port, " of ", NameOfThisMachine(), " is taken by another process"));
      }
      return absl::UnimplementedError(absl::StrCat("port ", port, ": ", std::strerror(errno)));
    }
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
      return absl::InternalError(std::strerror(errno));
    const uint16_t bound = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                                    : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    return BoundSocket{socket.Release(), bound};
  };
  absl::StatusOr<BoundSocket> bound = attempt(AF_INET6);
  if (absl::IsUnimplemented(bound.status())) bound = attempt(AF_INET);
  return bound;
}

absl::Status TryConnect(const std::string& host, uint16_t port, absl::Duration timeout) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, port, SOCK_STREAM));
  int error = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    const Descriptor socket(::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket.get() < 0) {
      error = errno;
      continue;
    }
    if (connect(socket.get(), a->ai_addr, a->ai_addrlen) == 0) return absl::OkStatus();
    error = errno;
    if (error != EINPROGRESS) continue;
    pollfd wait = {socket.get(), POLLOUT, 0};
    const int ready = poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
    socklen_t length = sizeof(error);
    if (ready <= 0) {
      error = ETIMEDOUT;
    } else if (getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0) {
      return absl::OkStatus();
    }
  }
  return absl::UnavailableError(Unreachable(host, port, error));
}

absl::StatusOr<std::string> AddressTowards(const std::string& host) {
  constexpr uint16_t kAnyPort = 9;
  AFTERIMAGE_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, kAnyPort, SOCK_DGRAM));
  int error = 0;
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    const Descriptor socket(::socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage mine = {};
    socklen_t length = sizeof(mine);
    char text[NI_MAXHOST] = {};
    if (socket.get() >= 0 && connect(socket.get(), a->ai_addr, a->ai_addrlen) == 0 &&
        getsockname(socket.get(), reinterpret_cast<sockaddr*>(&mine), &length) == 0 &&
        getnameinfo(reinterpret_cast<sockaddr*>(&mine), length, text, sizeof(text), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      return std::string(text);
    }
    error = errno;
  }
  return absl::UnavailableError(Unreachable(host, kAnyPort, error));
}

std::string NameOfThisMachine() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "?";
}

}  // namespace afterimage::trainer
