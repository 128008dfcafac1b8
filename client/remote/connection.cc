#include "client/remote/connection.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdio>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "afterimage/v1/catalog.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

// Frames are bounded by the server's max_message_bytes, which is not known before the first call.
constexpr int kMaxReceiveBytes = 1 << 30;
// The HTTP/2 window of a stream: with the bandwidth probe off, what a server may send ahead of a reader that
// stalls.
constexpr int kLookaheadBytes = 8 << 20;

constexpr absl::string_view kTlsScheme = "grpcs://";

absl::StatusOr<std::string> TargetOf(const std::string& address) {
  if (absl::StartsWith(address, "unix:/")) return address;
  absl::string_view rest = address;
  if ((absl::ConsumePrefix(&rest, "grpc://") || absl::ConsumePrefix(&rest, kTlsScheme)) &&
      absl::StrContains(rest, ":") && !absl::StrContains(rest, "/") && !absl::StrContains(rest, ",")) {
    return std::string(rest);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "server address ", address, ": expected grpc://HOST:PORT, grpcs://HOST:PORT (TLS) or unix:/PATH"));
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, const std::string& server_name,
                                           const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  arguments.SetMaxSendMessageSize(-1);                      // the server's limit counts
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a socket of our own, even to the same server
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);       // a cache is no web page
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);  // a server that vanished without a word is noticed
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);  // a server that comes back is found soon
  // Despite its name the time that an attempt may take: a busy or distant server needs more than a moment to
  // answer, while one that refuses is tried again after the pause above.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  if (!server_name.empty()) arguments.SetSslTargetNameOverride(server_name);
  return grpc::CreateCustomChannel(target, credentials, arguments);
}

}  // namespace

Connection::Connection(std::string address, Options options, std::shared_ptr<grpc::Channel> channel)
    : address_(std::move(address)),
      options_(options),
      channel_(std::move(channel)),
      waits_(
          options.message_after, options.message ? options.message : [](const std::string& text) {
            std::fprintf(stderr, "%s\n", text.c_str());
          }) {}

absl::StatusOr<std::shared_ptr<Connection>> Connection::Open(const std::string& address,
                                                             const Options& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string target, TargetOf(address));
  const bool with_tls = absl::StartsWith(address, kTlsScheme);
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (with_tls) {
    AFTERIMAGE_ASSIGN_OR_RETURN(credentials, MakeTlsCredentials(options.access));
  }
  std::shared_ptr<Connection> connection(new Connection(
      address, options, MakeChannel(target, with_tls ? options.access.server_name : "", credentials)));
  if (!options.access.token_file.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(connection->token_, ReadToken(options.access.token_file));
  }
  AFTERIMAGE_RETURN_IF_ERROR(connection->ExplainUnavailable(connection->Handshake(), target));
  return connection;
}

bool Connection::may_share_memory() const {
  return options_.shared_memory && absl::StartsWith(address_, "unix:");
}

WaitTeller::Wait Connection::WaitFor(const std::string& what) const {
  return WaitTeller::Wait(waits_, absl::StrCat(what, " of the server at ", address_));
}

void Connection::Prepare(grpc::ClientContext& context) const {
  if (options_.access.token_file.empty()) return;
  // One that cannot be read just now is being written: the last one may still do.
  absl::StatusOr<std::string> token = ReadToken(options_.access.token_file);
  std::lock_guard lock(token_mutex_);
  if (token.ok()) token_ = *std::move(token);
  context.AddMetadata(kTokenMetadata, kTokenPrefix + token_);
}

absl::Status Connection::ExplainUnavailable(const absl::Status& status, const std::string& target) const {
  if (!absl::IsUnavailable(status) || absl::StartsWith(target, "unix:")) return status;
  if (!absl::StartsWith(address_, kTlsScheme)) {
    if (!SpeaksTls(target)) return status;
    return absl::FailedPreconditionError(
        absl::StrCat("the server at ", address_, " speaks TLS: write ", kTlsScheme, target,
                     " (and name its authority with --tls-ca or in AFTERIMAGE_TLS_CA)"));
  }
  if (SpeaksPlainHttp2(target)) {
    return absl::FailedPreconditionError(absl::StrCat("the server at ", target,
                                                      " speaks no TLS: write grpc://", target,
                                                      ", or start it with --tls-cert and --tls-key"));
  }
  return absl::UnavailableError(absl::StrCat(
      status.message(),
      "; with TLS: is its certificate for this host name (else name it with --tls-server-name), signed by ",
      options_.access.ca_file.empty()
          ? "an authority that the system trusts (else name its file with --tls-ca)"
          : absl::StrCat("that of ", options_.access.ca_file),
      options_.access.certificate_file.empty()
          ? ", does it want a certificate of yours (--tls-cert, --tls-key)"
          : "",
      "?"));
}

absl::Status Connection::Handshake() {
  const std::unique_ptr<v1::Catalog::Stub> stub = v1::Catalog::NewStub(channel_);
  AFTERIMAGE_ASSIGN_OR_RETURN(const v1::Capabilities server,
                              CallUnary<v1::Capabilities>(*this, *stub, &v1::Catalog::Stub::GetCapabilities,
                                                          v1::GetCapabilitiesRequest()));
  const struct {
    const char* what;
    uint32_t ours;
    uint32_t theirs;
  } versions[] = {
      {"protocol", kProtocolVersion, server.protocol_version()},
      {"feature block", kFeatureBlockVersion, server.feature_block_version()},
      {"order", kOrderVersion, server.order_version()},
      {"set description", kDescriptionVersion, server.description_version()},
  };
  for (const auto& version : versions) {
    if (version.ours == version.theirs) continue;
    return absl::FailedPreconditionError(absl::StrCat("the server at ", address_, " (release ",
                                                      server.server_version(), ") has ", version.what,
                                                      " version ", version.theirs, ", this client has ",
                                                      version.ours, "; use the same release on both sides"));
  }
  limits_.max_message_bytes = server.limits().max_message_bytes();
  limits_.max_keys_per_call = server.limits().max_keys_per_call();
  limits_.max_transfer_bytes = server.limits().max_transfer_bytes();
  limits_.max_position_ranges = server.limits().max_position_ranges();
  return absl::OkStatus();
}

}  // namespace afterimage
