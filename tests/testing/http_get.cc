#include "tests/testing/http_get.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace afterimage::testing {

std::string HttpExchange(const std::string& address, const std::string& request, int patience_s) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval timeout = {patience_s, 0};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  sockaddr_in target = {};
  target.sin_family = AF_INET;
  target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  target.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + address.rfind(':') + 1)));
  std::string answer;
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0 &&
      send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char piece[4096];
    for (ssize_t got = 0; (got = recv(descriptor, piece, sizeof(piece), 0)) > 0;) answer.append(piece, got);
  }
  close(descriptor);
  return answer;
}

HttpAnswer HttpGet(const std::string& address, const std::string& path, const std::string& method) {
  const std::string answer =
      HttpExchange(address, method + " " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
  const size_t end = answer.find("\r\n\r\n");
  if (end == std::string::npos || answer.rfind("HTTP/1.1 ", 0) != 0) return {};
  return {std::atoi(answer.c_str() + 9), answer.substr(0, end), answer.substr(end + 4)};
}

}  // namespace afterimage::testing
