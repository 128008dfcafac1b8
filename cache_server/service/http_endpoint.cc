#include "cache_server/service/http_endpoint.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/service/listen_address.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr unsigned int kMaxConnections = 64;
constexpr unsigned int kTimeoutSeconds = 10;
constexpr size_t kMemoryPerConnection = 16 << 10;

// A numeric host, IPv6 in brackets, or localhost.
absl::StatusOr<sockaddr_storage> SocketAddressOf(const ListenAddress& listen) {
  sockaddr_storage storage = {};
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  const std::string host = listen.host == "localhost" ? "127.0.0.1" : listen.host;
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(listen.port));
    return storage;
  }
  const bool in_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (in_brackets && inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(listen.port));
    return storage;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--http ", listen.grpc_uri, ": expected ADDRESS:PORT with a numeric address, as in 0.0.0.0:9090"));
}

}  // namespace

struct HttpEndpoint::Parts {
  ~Parts() {
    if (daemon != nullptr) MHD_stop_daemon(daemon);
  }

  static MHD_Result Answer(void* self, MHD_Connection* connection, const char* url, const char* method,
                           const char*, const char*, size_t* upload_size, void** state) {
    const Parts& parts = *static_cast<const Parts*>(self);
    static char has_headers;
    if (*state == nullptr) {  // the first call of a request comes before its body
      *state = &has_headers;
      return MHD_YES;
    }
    if (*upload_size > 0) {  // a body is not wanted, and not looked at
      *upload_size = 0;
      return MHD_YES;
    }
    const HttpPage page = parts.PageFor(url, method);
    MHD_Response* const response = MHD_create_response_from_buffer(
        page.body.size(), const_cast<char*>(page.body.data()), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page.content_type.c_str());
    if (page.status == MHD_HTTP_METHOD_NOT_ALLOWED)
      MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    const MHD_Result queued =
        MHD_queue_response(connection, static_cast<unsigned int>(page.status), response);
    MHD_destroy_response(response);
    return queued;
  }

  HttpPage PageFor(const std::string& url, const std::string& method) const {
    if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD)
      return {.status = MHD_HTTP_METHOD_NOT_ALLOWED, .body = "only GET and HEAD\n"};
    const auto page = pages.find(url);
    if (page != pages.end()) return page->second();
    std::string body = "no such page; there are:";
    for (const auto& [path, make] : pages) absl::StrAppend(&body, " ", path);
    return {.status = MHD_HTTP_NOT_FOUND, .body = body + "\n"};
  }

  Pages pages;
  std::string address;
  MHD_Daemon* daemon = nullptr;
};

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(const std::string& listen, Pages pages) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(listen));
  AFTERIMAGE_ASSIGN_OR_RETURN(sockaddr_storage socket_address, SocketAddressOf(address));
  auto parts = std::make_unique<Parts>();
  parts->pages = std::move(pages);
  unsigned int flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD;
  if (socket_address.ss_family == AF_INET6) flags |= MHD_USE_IPv6;
  parts->daemon = MHD_start_daemon(flags, static_cast<uint16_t>(address.port), nullptr, nullptr,
                                   &Parts::Answer, parts.get(), MHD_OPTION_SOCK_ADDR,
                                   reinterpret_cast<sockaddr*>(&socket_address), MHD_OPTION_CONNECTION_LIMIT,
                                   kMaxConnections, MHD_OPTION_CONNECTION_TIMEOUT, kTimeoutSeconds,
                                   MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMemoryPerConnection, MHD_OPTION_END);
  const MHD_DaemonInfo* const info =
      parts->daemon != nullptr ? MHD_get_daemon_info(parts->daemon, MHD_DAEMON_INFO_BIND_PORT) : nullptr;
  if (info == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on --http ", listen,
                     ": the port is in use, or the address is not one of this machine"));
  }
  parts->address = absl::StrCat("http://", address.host, ":", info->port);
  return std::unique_ptr<HttpEndpoint>(new HttpEndpoint(std::move(parts)));
}

HttpEndpoint::HttpEndpoint(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

HttpEndpoint::~HttpEndpoint() = default;

const std::string& HttpEndpoint::address() const { return parts_->address; }

}  // namespace afterimage
