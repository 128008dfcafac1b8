// The keys inside a set's database (docs/decisions/0002-rocksdb-layout.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/feature/unit_ledger.h"
#include "core/identity/image_key.h"

namespace afterimage {

// 4 + 16: the view seed, big-endian, so that one epoch reads one range, then the image key.
inline constexpr size_t kRecordStoreKeyBytes = 20;
// 4 + 16 + 32: the view seed, the least or the greatest image key of the shard, the manifest.
inline constexpr size_t kUnitStoreKeyBytes = 52;

std::string RecordStoreKey(const RecordKey& key);
// Empty unless `store_key` is a record's.
std::optional<RecordKey> ParseRecordStoreKey(absl::string_view store_key);

// The least image key that can be in a shard.
ImageKey FirstKeyOfShard(uint32_t shard, uint32_t num_shards);

// The greatest image key that can be in a shard.
ImageKey LastKeyOfShard(uint32_t shard, uint32_t num_shards);

// The first key of the file that a unit has for `view_seed`: RocksDB reads the block there when it ingests a
// repair, whatever has become of the records.
std::string FenceStoreKey(const UnitId& unit, uint32_t view_seed, uint32_t num_shards);
// Where the file ends, behind every record of its shard. Both lie inside the unit's own range, so that the
// files of different shards never overlap, and differ from manifest to manifest.
std::string MarkerStoreKey(const UnitId& unit, uint32_t view_seed, uint32_t num_shards);

}  // namespace afterimage
