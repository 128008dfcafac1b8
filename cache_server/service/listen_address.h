// Where a server listens.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace afterimage {

struct ListenAddress {
  std::string grpc_uri;     // what gRPC is given: "127.0.0.1:4747", "unix:/path"
  std::string host;         // empty for a socket file
  int port = 0;             // 0: any free one
  std::string socket_path;  // empty for a port

  // InvalidArgument: neither host:port nor unix:/path (absolute, short enough for the system). IPv6 hosts
  // stand in brackets.
  static absl::StatusOr<ListenAddress> Parse(const std::string& text);

  // Whether only this machine reaches it: a socket file, or a loopback address.
  bool IsLocal() const;

  // Unavailable: something already accepts connections there. gRPC itself would take a live server's socket
  // file over.
  absl::Status CheckFree() const;
};

}  // namespace afterimage
