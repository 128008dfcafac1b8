// The arithmetic of lossless16: planes of two-byte floats, made smaller without any loss. Private to
// core/feature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"

namespace afterimage {

// Each two-byte value is rotated left by one bit, so that its upper byte has no sign: in bfloat16 the
// exponent, in binary16 exponent and three bits of the mantissa. First come all lower bytes, which are noise,
// as they are; then all upper bytes as one Huffman frame (entropy.h).
std::vector<uint8_t> EncodeLossless16(ByteSpan plane);

// `plane`: as many bytes as the values take, an even number. DataLoss: `bytes` are not of such a plane.
absl::Status DecodeLossless16(ByteSpan bytes, std::span<uint8_t> plane);

namespace internal {  // for the test that both ways agree
std::vector<uint8_t> EncodeLossless16Portably(ByteSpan plane);
absl::Status DecodeLossless16Portably(ByteSpan bytes, std::span<uint8_t> plane);
}  // namespace internal

}  // namespace afterimage
