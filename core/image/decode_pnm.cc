#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decoders.h"

namespace afterimage::image_internal {
namespace {

bool IsSpace(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// The next decimal number of a header, behind white space and "#" comments; at least one of them must be
// there.
std::optional<uint64_t> NextNumber(ByteSpan encoded, size_t& offset) {
  const size_t start = offset;
  while (offset < encoded.size() && (IsSpace(encoded[offset]) || encoded[offset] == '#')) {
    if (encoded[offset] == '#') {
      while (offset < encoded.size() && encoded[offset] != '\n') ++offset;
    } else {
      ++offset;
    }
  }
  if (offset == start) return std::nullopt;
  const size_t first_digit = offset;
  uint64_t value = 0;
  while (offset < encoded.size() && encoded[offset] >= '0' && encoded[offset] <= '9' &&
         offset - first_digit < 10) {
    value = 10 * value + (encoded[offset++] - '0');
  }
  return offset > first_digit ? std::optional(value) : std::nullopt;
}

}  // namespace

absl::StatusOr<DecodedImage> DecodePnm(ByteSpan encoded) {
  const bool is_color = encoded[1] == '6';
  size_t offset = 2;
  const auto width = NextNumber(encoded, offset), height = NextNumber(encoded, offset),
             max_value = NextNumber(encoded, offset);
  if (!width || !height || !max_value || offset >= encoded.size() || !IsSpace(encoded[offset])) {
    return absl::InvalidArgumentError(
        "truncated or corrupt PGM/PPM: the header is not \"P5|P6 width height maxval\"");
  }
  ++offset;  // exactly one white-space character before the pixels
  if (*max_value != 255) {
    return absl::InvalidArgumentError(
        absl::StrCat("a PGM/PPM of maxval ", *max_value, "; only 255 is supported"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckImageSize(*width, *height));
  const uint64_t num_pixels = *width * *height;
  const uint64_t needed_bytes = num_pixels * (is_color ? 3 : 1);
  if (encoded.size() - offset < needed_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("truncated PGM/PPM: ", encoded.size() - offset, " of ",
                                                   needed_bytes, " bytes of pixels are there"));
  }
  DecodedImage decoded;
  decoded.image.width = static_cast<uint32_t>(*width);
  decoded.image.height = static_cast<uint32_t>(*height);
  decoded.image.pixels.resize(3 * num_pixels);
  const uint8_t* source = encoded.data() + offset;
  uint8_t* target = decoded.image.pixels.data();
  if (is_color) {
    std::copy_n(source, needed_bytes, target);
  } else {
    for (uint64_t i = 0; i < num_pixels; ++i) std::fill_n(target + 3 * i, 3, source[i]);
  }
  return decoded;
}

}  // namespace afterimage::image_internal
