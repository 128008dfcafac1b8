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

std::string UnitStoreKey(uint32_t view_seed, const ImageKey& image, const Digest256& manifest) {
  std::string store_key;
  store_key.reserve(kUnitStoreKeyBytes);
  AppendBigEndian(view_seed, store_key);
  AppendImage(image, store_key);
  store_key.append(reinterpret_cast<const char*>(manifest.bytes.data()), manifest.bytes.size());
  return store_key;
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

ImageKey LastKeyOfShard(uint32_t shard, uint32_t num_shards) {
  // The greatest prefix is one below the least of the next shard; 2^32 has no next one.
  const uint64_t next = ((uint64_t{shard + 1} << 32) + num_shards - 1) / num_shards;
  ImageKey key;
  key.bytes.fill(0xff);
  for (size_t i = 0; i < 4; ++i) key.bytes[i] = static_cast<uint8_t>((next - 1) >> (24 - 8 * i));
  return key;
}

std::string FenceStoreKey(const UnitId& unit, uint32_t view_seed, uint32_t num_shards) {
  return UnitStoreKey(view_seed, FirstKeyOfShard(unit.shard, num_shards), unit.manifest);
}

std::string MarkerStoreKey(const UnitId& unit, uint32_t view_seed, uint32_t num_shards) {
  return UnitStoreKey(view_seed, LastKeyOfShard(unit.shard, num_shards), unit.manifest);
}

}  // namespace afterimage
