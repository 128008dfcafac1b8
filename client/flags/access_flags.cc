#include "client/flags/access_flags.h"

namespace afterimage {

void AddAccessFlags(CLI::App& app, ServerAccess& access, const std::string& group) {
  app.add_option("--tls-ca", access.ca_file,
                 "PEM file with the authorities that may have signed the server's certificate; for grpcs:// "
                 "(default: $AFTERIMAGE_TLS_CA, else those that the system trusts)")
      ->group(group);
  app.add_option("--tls-cert", access.certificate_file,
                 "PEM file with a certificate of this client, for mutual TLS (default: $AFTERIMAGE_TLS_CERT)")
      ->group(group);
  app.add_option("--tls-key", access.key_file, "PEM file with its private key (default: $AFTERIMAGE_TLS_KEY)")
      ->group(group);
  app.add_option("--tls-server-name", access.server_name,
                 "name in the server's certificate, where it is not the host of the address (default: "
                 "$AFTERIMAGE_TLS_SERVER_NAME)")
      ->group(group);
  app.add_option("--token-file", access.token_file,
                 "file with the token that the server wants; read again for each call (default: "
                 "$AFTERIMAGE_TOKEN_FILE)")
      ->group(group);
}

}  // namespace afterimage
