#include "client/remote/server_access.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/files.h"
#include "core/base/pem_files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr unsigned int kRefreshSeconds = 5;
constexpr std::chrono::seconds kProbeTimeout(1);

std::string Or(const std::string& said, const char* variable) {
  if (!said.empty()) return said;
  const char* const value = std::getenv(variable);
  return value != nullptr ? value : "";
}

// Until `step`, of a connection that does not block, succeeds; false when it fails, or takes too long.
bool TryInTime(BIO* connection, absl::FunctionRef<bool()> step) {
  const auto give_up = std::chrono::steady_clock::now() + kProbeTimeout;
  bool done = false;
  while (!(done = step()) && BIO_should_retry(connection) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ERR_clear_error();
  return done;
}

}  // namespace

ServerAccess ServerAccess::OrEnvironment() const {
  ServerAccess access = *this;
  access.ca_file = Or(ca_file, "AFTERIMAGE_TLS_CA");
  if (certificate_file.empty() && key_file.empty()) {
    access.certificate_file = Or("", "AFTERIMAGE_TLS_CERT");
    access.key_file = Or("", "AFTERIMAGE_TLS_KEY");
  }
  access.server_name = Or(server_name, "AFTERIMAGE_TLS_SERVER_NAME");
  access.token_file = Or(token_file, "AFTERIMAGE_TOKEN_FILE");
  return access;
}

bool ServerAccess::HasTls() const {
  return !ca_file.empty() || !certificate_file.empty() || !key_file.empty() || !server_name.empty();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeTlsCredentials(const ServerAccess& access) {
  if (access.certificate_file.empty() != access.key_file.empty()) {
    return absl::InvalidArgumentError(
        "a client certificate needs its key: give both --tls-cert and --tls-key (or both AFTERIMAGE_TLS_CERT "
        "and AFTERIMAGE_TLS_KEY)");
  }
  const bool has_pair = !access.certificate_file.empty();
  if (has_pair) AFTERIMAGE_RETURN_IF_ERROR(CheckKeyPair(access.certificate_file, access.key_file));
  if (!access.ca_file.empty()) AFTERIMAGE_RETURN_IF_ERROR(CheckCertificateFile(access.ca_file));
  namespace tls = grpc::experimental;
  tls::TlsChannelCredentialsOptions options;
  if (has_pair || !access.ca_file.empty()) {
    options.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
        access.key_file, access.certificate_file, access.ca_file, kRefreshSeconds));
  }
  if (has_pair) options.watch_identity_key_cert_pairs();
  if (!access.ca_file.empty()) options.watch_root_certs();
  return tls::TlsCredentials(options);
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::string token(absl::StripAsciiWhitespace(text));
  const auto is_graphic = [](unsigned char c) { return absl::ascii_isgraph(c); };
  if (token.empty() || !std::all_of(token.begin(), token.end(), is_graphic)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": expected one token and nothing else (the server's file has roles and names, this one has not)"));
  }
  return token;
}

bool SpeaksTls(const std::string& host_and_port) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  if (context == nullptr) return false;
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> connection(BIO_new_ssl_connect(context.get()),
                                                                 &BIO_free_all);
  if (connection == nullptr) return false;
  BIO_set_conn_hostname(connection.get(), host_and_port.c_str());
  BIO_set_nbio(connection.get(), 1);
  SSL* ssl = nullptr;
  BIO_get_ssl(connection.get(), &ssl);
  if (ssl != nullptr) {
    static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
    SSL_set_alpn_protos(ssl, kHttp2, sizeof(kHttp2));
  }
  return TryInTime(connection.get(), [&] { return BIO_do_handshake(connection.get()) == 1; });
}

bool SpeaksPlainHttp2(const std::string& host_and_port) {
  // A client begins with this and its SETTINGS, a server with a frame of type SETTINGS (RFC 9113
  // section 3.4).
  static constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
  static constexpr size_t kFrameHeaderBytes = 9;
  static constexpr size_t kTypeOffset = 3;
  static constexpr char kSettings = 4;
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> connection(BIO_new_connect(host_and_port.c_str()),
                                                                 &BIO_free_all);
  if (connection == nullptr) return false;
  BIO_set_nbio(connection.get(), 1);
  if (!TryInTime(connection.get(), [&] { return BIO_do_connect(connection.get()) == 1; })) return false;
  const int preface_bytes = sizeof(kPreface);  // its end is the last byte of the frame
  if (BIO_write(connection.get(), kPreface, preface_bytes) != preface_bytes) return false;
  std::array<char, kFrameHeaderBytes> header = {};
  int got = 0;
  return TryInTime(connection.get(),
                   [&] {
                     got = BIO_read(connection.get(), header.data(), kFrameHeaderBytes);
                     return got > 0;
                   }) &&
         got == kFrameHeaderBytes && header[kTypeOffset] == kSettings;
}

}  // namespace afterimage
