#include "cache_server/service/cache_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/catalog_service.h"
#include "cache_server/service/epochs_service.h"
#include "cache_server/service/listen_address.h"
#include "cache_server/service/monitor_service.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/peer_limits.h"
#include "cache_server/service/records_service.h"
#include "cache_server/service/set_watch.h"
#include "cache_server/service/stream_gate.h"
#include "cache_server/service/transfer_watch.h"
#include "cache_server/service/units_service.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Beside the bulk streams: short calls and gRPC's own pollers.
constexpr int kThreadsForShortCalls = 64;
// HTTP/2 window of a stream. With the bandwidth probe on, a stalled reader would let 6 to 46 MB run ahead;
// with it off, this much.
constexpr int kLookaheadBytes = 8 << 20;
// What calls get that are cancelled at the end of a drain.
constexpr std::chrono::seconds kCancelGrace(2);

void Configure(grpc::ServerBuilder& builder, const ServiceLimits& limits) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(limits.max_message_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(limits.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // or two servers would share a port silently
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  // A peer that vanished without a word is noticed within 80 s; clients may ask as often as they do by
  // default here.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  grpc::ResourceQuota quota("afterimage-server");
  quota.SetMaxThreads(static_cast<int>(limits.max_streams) + kThreadsForShortCalls);
  builder.SetResourceQuota(quota);
}

absl::Status CheckSafe(const ListenAddress& listen, const CacheServer::Options& options) {
  if (!listen.socket_path.empty() && !options.tls.certificate.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", options.listen,
                     ": a socket file stays on this machine and is read without TLS; leave --tls-cert out"));
  }
  if (options.insecure || listen.IsLocal() || !options.tls.certificate.empty() || options.tokens != nullptr)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--listen ", options.listen,
                   ": everybody who reaches this address could read and write the cache. Give --tls-cert and "
                   "--tls-key (with --tls-client-ca "
                   "for mutual TLS), or --tokens FILE; or say --insecure if that is meant"));
}

}  // namespace

struct CacheServer::Parts {
  Parts(FeatureCatalog* catalog, EpochSource* source, const Options& options)
      : log(options.log),
        peers(options.limits.max_calls_per_peer, options.limits.max_streams_per_peer, &metrics),
        calls(options.tokens, &peers, &metrics, &log),
        gate(options.limits.max_streams, &metrics),
        sets(catalog),
        transfers(options.transfer_patience),
        catalog_service(catalog, &sets, &gate, &transfers, &calls, options.limits),
        records_service(&sets, &gate, &transfers, &calls, options.limits),
        epochs_service(source, &sets, &gate, &calls, &metrics, options.limits),
        units_service(&sets, &gate, &transfers, &calls, options.limits),
        monitor_service(&calls, &metrics) {}

  ServerMetrics metrics;
  CallLog log;
  PeerLimits peers;
  CallRunner calls;
  StreamGate gate;
  OpenSets sets;
  TransferWatch transfers;
  CatalogService catalog_service;
  RecordsService records_service;
  EpochsService epochs_service;
  UnitsService units_service;
  MonitorService monitor_service;
  int port = 0;
  std::string address;
  bool drained = false;
  std::unique_ptr<grpc::Server> server;  // destroyed before what it calls
  std::unique_ptr<SetWatch> watch;
  std::unique_ptr<StatusPages> pages;
  std::unique_ptr<HttpEndpoint> http;
  std::string http_address;
};

absl::StatusOr<std::unique_ptr<CacheServer>> CacheServer::Start(FeatureCatalog* catalog, EpochSource* source,
                                                                const Options& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ListenAddress listen, ListenAddress::Parse(options.listen));
  AFTERIMAGE_RETURN_IF_ERROR(CheckSafe(listen, options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                              MakeServerCredentials(options.tls));
  AFTERIMAGE_RETURN_IF_ERROR(listen.CheckFree());
  static std::once_flag plugins;
  std::call_once(plugins, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });

  auto parts = std::make_unique<Parts>(catalog, source, options);
  grpc::ServerBuilder builder;
  Configure(builder, options.limits);
  int port = 0;
  builder.AddListeningPort(listen.grpc_uri, credentials, &port);
  builder.RegisterService(&parts->catalog_service);
  builder.RegisterService(&parts->records_service);
  builder.RegisterService(&parts->epochs_service);
  builder.RegisterService(&parts->units_service);
  builder.RegisterService(&parts->monitor_service);
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr || port <= 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", options.listen, ": ",
        listen.socket_path.empty()
            ? "the port is in use, or the address is not one of this machine; choose another with --listen "
              "(port 0 takes any free one)"
            : "the socket file cannot be made there"));
  }
  parts->port = listen.socket_path.empty() ? port : 0;
  const char* const scheme = options.tls.certificate.empty() ? "grpc://" : "grpcs://";
  parts->address =
      listen.socket_path.empty() ? absl::StrCat(scheme, listen.host, ":", port) : listen.grpc_uri;
  parts->watch = std::make_unique<SetWatch>(
      catalog, &parts->sets, options.watch_interval,
      [health = parts->server->GetHealthCheckService()](const std::string& service, bool serving) {
        health->SetServingStatus(service, serving);
      });
  parts->pages = std::make_unique<StatusPages>(&parts->metrics, parts->watch.get(), &parts->gate,
                                               options.limits, options.disk);
  auto started = std::unique_ptr<CacheServer>(new CacheServer(std::move(parts)));
  if (!options.http.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(started->parts_->http,
                                HttpEndpoint::Start(options.http, started->parts_->pages->Pages()));
    started->parts_->http_address = started->parts_->http->address();
  }
  return started;
}

CacheServer::CacheServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

CacheServer::~CacheServer() { Drain(absl::ZeroDuration()); }

int CacheServer::port() const { return parts_->port; }
const std::string& CacheServer::address() const { return parts_->address; }
const std::string& CacheServer::http_address() const { return parts_->http_address; }
uint32_t CacheServer::num_streams() const { return parts_->gate.num_streams(); }

void CacheServer::Drain(absl::Duration timeout) {
  if (std::exchange(parts_->drained, true)) return;
  parts_->watch->Stop();
  parts_->server->GetHealthCheckService()->SetServingStatus(false);
  parts_->gate.BeginDrain();
  parts_->gate.WaitUntilIdle(timeout);
  parts_->gate.StopAll();
  parts_->server->Shutdown(std::chrono::system_clock::now() + kCancelGrace);
  parts_->server->Wait();
}

}  // namespace afterimage
