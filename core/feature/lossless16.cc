#include "core/feature/lossless16.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/entropy.h"

namespace afterimage {
namespace {

// Upper bytes in the making: a part of the plane at a time would be as good, but a frame is decoded whole.
std::vector<uint8_t>& Scratch(size_t size) {
  thread_local std::vector<uint8_t> bytes;
  if (bytes.size() < size) bytes.resize(size);
  return bytes;
}

}  // namespace

std::vector<uint8_t> EncodeLossless16(ByteSpan plane) {
  const size_t count = plane.size() / 2;
  std::vector<uint8_t> bytes(count);
  uint8_t* const upper = Scratch(count).data();
  for (size_t i = 0; i < count; ++i) {
    const uint16_t value = LoadLittleEndian<uint16_t>(plane.data() + 2 * i);
    bytes[i] = static_cast<uint8_t>(value << 1 | value >> 15);
    upper[i] = static_cast<uint8_t>(value >> 7);
  }
  AppendHuffmanFrame({upper, count}, bytes);
  return bytes;
}

absl::Status DecodeLossless16(ByteSpan bytes, std::span<uint8_t> plane) {
  const size_t count = plane.size() / 2;
  if (bytes.size() < count) {
    return absl::DataLossError(absl::StrCat("lossless16: ", bytes.size(), " bytes for ", count, " values"));
  }
  uint8_t* const upper = Scratch(count).data();
  AFTERIMAGE_RETURN_IF_ERROR(ReadHuffmanFrame(bytes.subspan(count), {upper, count}));
  const uint8_t* const lower = bytes.data();
  uint8_t* const target = plane.data();
  for (size_t i = 0; i < count; ++i) {
    const uint16_t rotated = static_cast<uint16_t>(lower[i] | upper[i] << 8);
    const uint16_t value = static_cast<uint16_t>(rotated >> 1 | rotated << 15);
    std::memcpy(target + 2 * i, &value, sizeof(value));
  }
  return absl::OkStatus();
}

}  // namespace afterimage
