// How values travel from a cache: the same flag for whoever reads records or epochs of one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/feature/feature_block.h"

namespace afterimage {

// Declares --wire-encoding. `encoding` must live as long as the app; it goes into Selection::encoding.
// `group`: of --help; `description`: what it means to this command.
void AddWireEncodingFlag(CLI::App& app, Selection::Encoding& encoding, const std::string& group,
                         const std::string& description);

}  // namespace afterimage
