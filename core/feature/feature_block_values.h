// Values of a plane as bytes and back, for the sources that write, read and cut feature blocks. Private to
// core/feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/feature/feature_block_layout.h"

namespace afterimage::block {

// The index of the first value that is none or larger than `limit` in magnitude, or the number of values.
size_t FirstBeyond(std::span<const float> values, float limit);

// True for the types whose values stand alone, each rounded to the nearest.
inline constexpr bool IsFloat(ElementType type) {
  return type == ElementType::kF32 || type == ElementType::kF16 || type == ElementType::kBf16;
}

// Both only for types that IsFloat is true of.

// Writes values.size() elements. The index of the first value that is not finite or rounds beyond the type's
// range, or values.size() if there is none; what is written is unspecified then.
size_t EncodeFloats(ElementType type, std::span<const float> values, uint8_t* target);
// `source` holds values.size() elements, at any alignment.
void DecodeFloats(ElementType type, const uint8_t* source, std::span<float> values);

}  // namespace afterimage::block
