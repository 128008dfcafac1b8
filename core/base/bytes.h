// Bytes with and without an owner, and little-endian access to them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace afterimage {

static_assert(std::endian::native == std::endian::little, "the formats are little-endian, and so are the hosts");

using ByteSpan = std::span<const uint8_t>;

inline ByteSpan AsBytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Bytes that stay valid as long as `owner` lives: a mapped file, a pinned block of a store, a received
// slice, or a string of our own. Copying shares the owner; the bytes are immutable.
struct PinnedBytes {
  ByteSpan bytes;
  std::shared_ptr<const void> owner;
  // All of them have been compared with a checksum since they came from a disk or a network.
  bool verified = false;

  static PinnedBytes FromString(std::string text) {
    auto held = std::make_shared<const std::string>(std::move(text));
    return {AsBytes(*held), held};
  }
};

template <typename T>
T LoadLittleEndian(const uint8_t* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

template <typename T>
void AppendLittleEndian(T value, std::string& target) {
  target.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

}  // namespace afterimage
