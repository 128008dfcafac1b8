#include "cache_server/service/server_tls.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "core/base/pem_files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr unsigned int kRefreshSeconds = 5;

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const ServerTlsFiles& files) {
  if (files.certificate.empty() && files.key.empty() && files.client_ca.empty())
    return grpc::InsecureServerCredentials();
  if (files.certificate.empty() || files.key.empty()) {
    return absl::InvalidArgumentError(
        "TLS needs a certificate and its key: give both --tls-cert FILE and --tls-key FILE");
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckKeyPair(files.certificate, files.key));
  if (!files.client_ca.empty()) AFTERIMAGE_RETURN_IF_ERROR(CheckCertificateFile(files.client_ca));
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions options(std::make_shared<tls::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, kRefreshSeconds));
  options.watch_identity_key_cert_pairs();
  if (files.client_ca.empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(options);
}

}  // namespace afterimage
