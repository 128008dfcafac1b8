// What a client needs to be let in: authorities, a certificate of its own, a token.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class ChannelCredentials;
}

namespace afterimage {

struct ServerAccess {
  std::string
      ca_file;  // PEM: who may have signed the server's certificate; empty: those that the system trusts
  std::string certificate_file;  // PEM, for mutual TLS; empty: none is shown
  std::string key_file;          // its key
  std::string server_name;       // that the server's certificate is for; empty: the host of the address
  std::string token_file;  // holds one token; empty: none is sent. Read again for each call, so that it can
                           // be renewed

  // This, and what it leaves empty from AFTERIMAGE_TLS_CA, AFTERIMAGE_TLS_CERT, AFTERIMAGE_TLS_KEY,
  // AFTERIMAGE_TLS_SERVER_NAME and AFTERIMAGE_TOKEN_FILE. A certificate and its key come from one place.
  ServerAccess OrEnvironment() const;

  // Whether anything is said that only TLS has a use for; anything at all.
  bool HasTls() const;
  bool HasAny() const { return HasTls() || !token_file.empty(); }
};

// For a channel with TLS. Files are looked at again every few seconds. InvalidArgument: a file that does not
// hold what it should.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeTlsCredentials(const ServerAccess& access);

// The token in the file. InvalidArgument: not one word (which is not told).
absl::StatusOr<std::string> ReadToken(const std::string& path);

// Whether something at host:port answers a TLS handshake, within a second; HTTP/2 in clear text. For error
// messages only: nothing is trusted.
bool SpeaksTls(const std::string& host_and_port);
bool SpeaksPlainHttp2(const std::string& host_and_port);

}  // namespace afterimage
