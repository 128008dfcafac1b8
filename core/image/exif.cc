#include "core/image/exif.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace afterimage::image_internal {
namespace {

constexpr uint16_t kOrientationTag = 0x0112;
constexpr uint16_t kShortType = 3;
constexpr size_t kEntryBytes = 12;  // tag 2, type 2, count 4, value 4

// Reads of one byte order that say so when they would leave the buffer.
class TiffReader {
 public:
  TiffReader(ByteSpan bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  std::optional<uint16_t> Short(size_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < 2) return std::nullopt;
    const uint16_t first = bytes_[offset], second = bytes_[offset + 1];
    return static_cast<uint16_t>(big_endian_ ? first << 8 | second : second << 8 | first);
  }
  std::optional<uint32_t> Long(size_t offset) const {
    const auto first = Short(offset), second = Short(offset + 2);
    if (!first || !second) return std::nullopt;
    return big_endian_ ? uint32_t{*first} << 16 | *second : uint32_t{*second} << 16 | *first;
  }

 private:
  ByteSpan bytes_;
  bool big_endian_;
};

// The source pixel that lands at (x, y) of the upright picture.
struct Position {
  uint32_t x;
  uint32_t y;
};
Position SourceOf(int orientation, uint32_t x, uint32_t y, uint32_t width, uint32_t height) {
  switch (orientation) {
    case 2:
      return {width - 1 - x, y};  // mirrored
    case 3:
      return {width - 1 - x, height - 1 - y};  // half a turn
    case 4:
      return {x, height - 1 - y};  // upside down, mirrored
    case 5:
      return {y, x};  // transposed
    case 6:
      return {y, height - 1 - x};  // needs a quarter turn clockwise
    case 7:
      return {width - 1 - y, height - 1 - x};  // transposed over the other diagonal
    case 8:
      return {width - 1 - y, x};  // needs a quarter turn anticlockwise
    default:
      return {x, y};
  }
}

}  // namespace

int ExifOrientation(ByteSpan exif) {
  if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  if (exif.size() < 8) return 1;
  const bool big_endian = std::memcmp(exif.data(), "MM\0*", 4) == 0;
  if (!big_endian && std::memcmp(exif.data(), "II*\0", 4) != 0) return 1;
  const TiffReader reader(exif, big_endian);
  const std::optional<uint32_t> directory = reader.Long(4);
  if (!directory) return 1;
  const std::optional<uint16_t> num_entries = reader.Short(*directory);
  if (!num_entries) return 1;
  for (size_t i = 0; i < *num_entries; ++i) {
    const size_t entry = size_t{*directory} + 2 + i * kEntryBytes;
    const auto tag = reader.Short(entry), type = reader.Short(entry + 2), value = reader.Short(entry + 8);
    if (!tag || !type || !value) return 1;
    if (*tag != kOrientationTag) continue;
    return *type == kShortType && *value >= 1 && *value <= 8 ? *value : 1;
  }
  return 1;
}

RgbImage ApplyOrientation(RgbImage image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  RgbImage upright;
  upright.width = orientation >= 5 ? image.height : image.width;
  upright.height = orientation >= 5 ? image.width : image.height;
  upright.pixels.resize(image.pixels.size());
  for (uint32_t y = 0; y < upright.height; ++y) {
    uint8_t* target = upright.Row(y);
    for (uint32_t x = 0; x < upright.width; ++x, target += 3) {
      const Position source = SourceOf(orientation, x, y, image.width, image.height);
      std::copy_n(image.Row(source.y) + size_t{3} * source.x, 3, target);
    }
  }
  return upright;
}

}  // namespace afterimage::image_internal
