// A few pages over HTTP: for Prometheus and for probes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace afterimage {

struct HttpPage {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

// Answers GET and HEAD of fixed paths; nothing else is looked at. One thread; connections are few, short and
// time out.
class HttpEndpoint {
 public:
  using Pages = std::map<std::string, std::function<HttpPage()>>;  // path, "/metrics", to what makes the page

  // `listen`: HOST:PORT (port 0: any free one), HOST a number. Pages are made by the endpoint's thread.
  // InvalidArgument: no such address. Unavailable: it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Start(const std::string& listen, Pages pages);
  ~HttpEndpoint();

  // "http://127.0.0.1:9090"
  const std::string& address() const;

 private:
  struct Parts;
  explicit HttpEndpoint(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace afterimage
