// The identity of an image: a hash of its encoded bytes.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace afterimage {

// The first 16 bytes of SHA-256 of the encoded image file: never a path, an index or a time. Ordered as
// bytes.
struct ImageKey {
  std::array<uint8_t, 16> bytes{};

  auto operator<=>(const ImageKey&) const = default;
  // 32 lower-case hexadecimal digits.
  std::string Hex() const;
  // InvalidArgument unless exactly 32 hexadecimal digits.
  static absl::StatusOr<ImageKey> FromHex(absl::string_view hex);
  static ImageKey OfEncodedImage(ByteSpan encoded);

  template <typename H>
  friend H AbslHashValue(H state, const ImageKey& key) {
    return H::combine(std::move(state), key.bytes);
  }
};

// What one record is stored under, besides its set.
struct RecordKey {
  ImageKey image;
  uint32_t view_seed = 0;

  auto operator<=>(const RecordKey&) const = default;

  // "<image key hex>/<view seed>", for messages.
  std::string ToString() const;

  template <typename H>
  friend H AbslHashValue(H state, const RecordKey& key) {
    return H::combine(std::move(state), key.image, key.view_seed);
  }
};

}  // namespace afterimage
