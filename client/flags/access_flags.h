// The flags with which a program is let in by a server: the same ones beside every --cache.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "client/open_cache.h"

namespace afterimage {

// Declares --tls-ca, --tls-cert, --tls-key, --tls-server-name and --token-file: files, and what is in them is
// never printed. `access` must live as long as the app; it goes into OpenCacheOptions::access. `group`: of
// --help.
void AddAccessFlags(CLI::App& app, ServerAccess& access, const std::string& group = "Access to a server");

}  // namespace afterimage
