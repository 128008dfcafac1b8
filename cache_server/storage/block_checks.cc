#include "cache_server/storage/block_checks.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace afterimage {
namespace {

thread_local bool checks_blocks = false;

// A block is followed by a byte that says how it is compressed, and by the lower half of XXH3-64 of the block,
// changed by that byte (RocksDB, table/format.cc, ComputeBuiltinChecksumWithLastByte).
constexpr size_t kTrailerBytes = 5;
constexpr uint32_t kLastBytePrime = 0x6b9083d9;

bool FitsItsChecksum(const rocksdb::Slice& read) {
  if (read.size() <= kTrailerBytes) return false;
  const auto* const bytes = reinterpret_cast<const uint8_t*>(read.data());
  const size_t block_bytes = read.size() - kTrailerBytes;
  const uint8_t* const trailer = bytes + block_bytes;
  uint32_t stored = 0;
  for (int i = 3; i >= 0; --i) stored = stored << 8 | trailer[1 + i];
  return stored ==
         (static_cast<uint32_t>(Xxh3_64(ByteSpan(bytes, block_bytes))) ^ trailer[0] * kLastBytePrime);
}

class CheckedFile : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  using FSRandomAccessFileOwnerWrapper::FSRandomAccessFileOwnerWrapper;

  rocksdb::IOStatus Read(uint64_t offset, size_t n, const rocksdb::IOOptions& options, rocksdb::Slice* result,
                         char* scratch, rocksdb::IODebugContext* debug) const override {
    rocksdb::IOStatus status = target()->Read(offset, n, options, result, scratch, debug);
    if (checks_blocks && status.ok() && !FitsItsChecksum(*result))
      return rocksdb::IOStatus::Corruption("a block does not fit its checksum");
    return status;
  }
};

class CheckingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;

  const char* Name() const override { return "AfterimageCheckingFileSystem"; }
  rocksdb::IOStatus NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSRandomAccessFile> file;
    rocksdb::IOStatus status = target()->NewRandomAccessFile(name, options, &file, debug);
    if (status.ok()) *result = std::make_unique<CheckedFile>(std::move(file));
    return status;
  }
};

}  // namespace

rocksdb::Env* BlockCheckingEnv() {
  static rocksdb::Env* const env =
      rocksdb::NewCompositeEnv(std::make_shared<CheckingFileSystem>(rocksdb::FileSystem::Default())).release();
  return env;
}

CheckBlocks::CheckBlocks() { checks_blocks = true; }
CheckBlocks::~CheckBlocks() { checks_blocks = false; }

}  // namespace afterimage
