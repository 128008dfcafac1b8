// A GET over a plain socket, for tests.
#pragma once

#include <string>

namespace afterimage::testing {

// What a server at "http://127.0.0.1:PORT" answers, head and body; empty when it does not, or not within
// `patience_s`.
std::string HttpExchange(const std::string& address, const std::string& request, int patience_s = 20);
// GET `path`: the status and the body.
struct HttpAnswer {
  int status = 0;
  std::string head;
  std::string body;
};
HttpAnswer HttpGet(const std::string& address, const std::string& path, const std::string& method = "GET");

}  // namespace afterimage::testing
