// What every --codec accepts.
#pragma once

#include <CLI/CLI.hpp>

namespace afterimage {

// The names that ParseCodec knows, with its words for the others.
CLI::Validator IsCodecName();

}  // namespace afterimage
