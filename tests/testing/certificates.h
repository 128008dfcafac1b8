// Certificates made up for tests of TLS.
#pragma once

#include <string>

namespace afterimage::testing {

struct CertificateAndKey {
  std::string certificate;  // PEM
  std::string key;          // PEM
};

// An authority that signs itself.
CertificateAndKey MakeAuthority(const std::string& name);
// A certificate for `name` as common name, and for localhost and 127.0.0.1, signed by `authority`. Valid for
// a day.
CertificateAndKey MakeCertificate(const std::string& name, const CertificateAndKey& authority);

}  // namespace afterimage::testing
