// Whole-file checksums of SST files with XXH3-64: RocksDB's own factory is CRC32C, four times slower here.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "rocksdb/file_checksum.h"

namespace afterimage {

// Kept beside each checksum in the database's MANIFEST and in unit.json: part of the format.
inline constexpr char kFileChecksumName[] = "afterimage.xxh3-64";

std::shared_ptr<rocksdb::FileChecksumGenFactory> Xxh3FileChecksumFactory();

// The checksum of a file as it lies on the disk, in the form that RocksDB keeps (8 bytes, big-endian).
absl::StatusOr<std::string> ChecksumOfFile(const std::filesystem::path& path);

}  // namespace afterimage
