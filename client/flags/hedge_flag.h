// How soon a record is read from a second server: the same flag for whoever reads epochs of several.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace afterimage {

// Declares --hedge-after. `hedge_after` must live as long as the app; it goes into
// OpenCacheOptions::hedge_after. `group`: of --help.
void AddHedgeFlag(CLI::App& app, std::optional<absl::Duration>& hedge_after, const std::string& group);

}  // namespace afterimage
