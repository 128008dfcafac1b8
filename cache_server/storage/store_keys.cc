#include "cache_server/storage/store_keys.h"

#include <cstring>

namespace afterimage {
namespace {

void AppendBigEndian(uint32_t value, std::string& target) {
  for (int shift = 24; shift >= 0; shift -= 8) target.push_back(static_cast<char>((value >> shift) & 0xff));
}

void AppendImage(const ImageKey& image, std::string& target) {
  target.append(reinterpret_cast<const char*>(image.bytes.data()), image.bytes.size());
}

}  // namespace

std::string RecordStoreKey(const RecordKey& key) {
  std::string store_key;
  store_key.reserve(kRecordStoreKeyBytes);
  AppendBigEndian(key.view_seed, store_key);
  AppendImage(key.image, store_key);
  return store_key;
}

std::optional<RecordKey> ParseRecordStoreKey(absl::string_view store_key) {
  if (store_key.size() != kRecordStoreKeyBytes) return std::nullopt;
  RecordKey key;
  for (size_t i = 0; i < 4; ++i) key.view_seed = (key.view_seed << 8) | static_cast<uint8_t>(store_key[i]);
  std::memcpy(key.image.bytes.data(), store_key.data() + 4, key.image.bytes.size());
  return key;
}

ImageKey FirstKeyOfShard(uint32_t shard, uint32_t num_shards) {
  // The least 32-bit prefix p with floor(p * S / 2^32) = s is ceil(s * 2^32 / S).
  const uint64_t prefix = ((uint64_t{shard} << 32) + num_shards - 1) / num_shards;
  ImageKey key;
  for (size_t i = 0; i < 4; ++i) key.bytes[i] = static_cast<uint8_t>(prefix >> (24 - 8 * i));
  return key;
}

std::string MarkerStoreKey(const UnitId& unit, uint32_t view_seed, uint32_t num_shards) {
  std::string store_key;
  store_key.reserve(kMarkerStoreKeyBytes);
  AppendBigEndian(view_seed, store_key);
  AppendImage(FirstKeyOfShard(unit.shard, num_shards), store_key);
  store_key.append(reinterpret_cast<const char*>(unit.manifest.bytes.data()), unit.manifest.bytes.size());
  return store_key;
}

}  // namespace afterimage
