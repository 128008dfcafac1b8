// Checks of certificate files, so that a wrong one is told when a program starts and not as a failed
// handshake.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace afterimage {

// InvalidArgument: the file holds no PEM certificate. Otherwise as ReadFile.
absl::Status CheckCertificateFile(const std::string& path);

// InvalidArgument: no PEM certificate, no PEM key without a passphrase, or a key of another certificate.
absl::Status CheckKeyPair(const std::string& certificate_path, const std::string& key_path);

}  // namespace afterimage
