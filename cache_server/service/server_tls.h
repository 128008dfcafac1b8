// TLS of a server.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class ServerCredentials;
}

namespace afterimage {

// PEM files. They are looked at again every few seconds, so that a renewed certificate needs no restart.
struct ServerTlsFiles {
  std::string certificate;  // the server's, and those between it and the authority; empty: no TLS
  std::string key;          // without a passphrase
  std::string
      client_ca;  // a client must have a certificate that these authorities signed; empty: none is asked for
};

// InvalidArgument: a file that does not hold what it should, or one without the other.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ServerTlsFiles& files);

}  // namespace afterimage
