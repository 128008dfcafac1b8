// Files of numpy.save: reading, with checks.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/tensors/safetensors.h"

namespace afterimage {

// The array of a .npy file (format versions 1 to 3), as numpy.lib.format documents it: a view into `content`,
// which must outlive it. Types <f2, <f4, <f8, |u1 and <i4; row-major. DataLoss: no such file, or of another
// length than its header says. Unimplemented: another type, or column-major (told). `path` is for messages.
absl::StatusOr<TensorView> ParseNpy(ByteSpan content, const std::string& path);

}  // namespace afterimage
