// Sizes as people write them.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage {

// "1500", "20MB", "1.5TB" (powers of 1000) or "64GiB" (powers of 1024), in whole bytes, rounded down.
// InvalidArgument: no such text, or more than 64 bits hold.
absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text);

}  // namespace afterimage
