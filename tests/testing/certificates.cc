#include "tests/testing/certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <memory>

namespace afterimage::testing {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;

constexpr long kDay = 24 * 3600;

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(length)};
}

void AddExtension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  if (extension == nullptr) std::abort();
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

CertificateAndKey Make(const std::string& name, const CertificateAndKey* authority) {
  const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const Certificate certificate(X509_new(), &X509_free);
  X509_set_version(certificate.get(), 2);  // X.509 v3
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kDay);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  Certificate issuer(nullptr, &X509_free);
  Key issuer_key(nullptr, &EVP_PKEY_free);
  if (authority != nullptr) {
    const Bio certificate_text(BIO_new_mem_buf(authority->certificate.data(), -1), &BIO_free);
    issuer.reset(PEM_read_bio_X509(certificate_text.get(), nullptr, nullptr, nullptr));
    const Bio key_text(BIO_new_mem_buf(authority->key.data(), -1), &BIO_free);
    issuer_key.reset(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  }
  X509* const signer = authority != nullptr ? issuer.get() : certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer));
  AddExtension(certificate.get(), signer, NID_basic_constraints,
               authority != nullptr ? "CA:FALSE" : "critical,CA:TRUE");
  if (authority != nullptr)
    AddExtension(certificate.get(), signer, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  X509_sign(certificate.get(), authority != nullptr ? issuer_key.get() : key.get(), EVP_sha256());

  const Bio certificate_pem(BIO_new(BIO_s_mem()), &BIO_free);
  const Bio key_pem(BIO_new(BIO_s_mem()), &BIO_free);
  PEM_write_bio_X509(certificate_pem.get(), certificate.get());
  PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {Contents(certificate_pem.get()), Contents(key_pem.get())};
}

}  // namespace

CertificateAndKey MakeAuthority(const std::string& name) { return Make(name, nullptr); }

CertificateAndKey MakeCertificate(const std::string& name, const CertificateAndKey& authority) {
  return Make(name, &authority);
}

}  // namespace afterimage::testing
