#include "core/base/pem_files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio Over(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// The first one: of a chain, the server's own.
absl::StatusOr<Certificate> ReadCertificate(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Certificate certificate(PEM_read_bio_X509(Over(text).get(), nullptr, nullptr, nullptr), &X509_free);
  ERR_clear_error();
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no PEM certificate (-----BEGIN CERTIFICATE-----) in it"));
  }
  return certificate;
}

int NoPassphrase(char*, int, int, void*) { return -1; }

}  // namespace

absl::Status CheckCertificateFile(const std::string& path) { return ReadCertificate(path).status(); }

absl::Status CheckKeyPair(const std::string& certificate_path, const std::string& key_path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const Certificate certificate, ReadCertificate(certificate_path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(key_path));
  const Key key(PEM_read_bio_PrivateKey(Over(text).get(), nullptr, &NoPassphrase, nullptr), &EVP_PKEY_free);
  const bool fits = key != nullptr && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(key_path, ": no PEM private key in it, or one that needs a passphrase"));
  }
  if (!fits) {
    return absl::InvalidArgumentError(
        absl::StrCat(key_path, ": the key is not that of the certificate ", certificate_path));
  }
  return absl::OkStatus();
}

}  // namespace afterimage
