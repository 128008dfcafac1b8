#include "cache_server/storage/xxh3_file_checksum.h"

#include <xxhash.h>

#include <fstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

class Xxh3Generator : public rocksdb::FileChecksumGenerator {
 public:
  Xxh3Generator() : state_(XXH3_createState(), XXH3_freeState) { XXH3_64bits_reset(state_.get()); }

  void Update(const char* data, size_t size) override { XXH3_64bits_update(state_.get(), data, size); }
  void Finalize() override {
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, XXH3_64bits_digest(state_.get()));
    checksum_.assign(reinterpret_cast<const char*>(canonical.digest), sizeof(canonical.digest));
  }
  std::string GetChecksum() const override { return checksum_; }
  const char* Name() const override { return kFileChecksumName; }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
  std::string checksum_;
};

class Xxh3Factory : public rocksdb::FileChecksumGenFactory {
 public:
  std::unique_ptr<rocksdb::FileChecksumGenerator> CreateFileChecksumGenerator(
      const rocksdb::FileChecksumGenContext& context) override {
    // RocksDB asks by name when it verifies; a name that is not ours cannot be answered.
    if (!context.requested_checksum_func_name.empty() &&
        context.requested_checksum_func_name != kFileChecksumName) {
      return nullptr;
    }
    return std::make_unique<Xxh3Generator>();
  }
  const char* Name() const override { return "AfterimageXxh3FileChecksum"; }
};

}  // namespace

std::shared_ptr<rocksdb::FileChecksumGenFactory> Xxh3FileChecksumFactory() {
  return std::make_shared<Xxh3Factory>();
}

absl::StatusOr<std::string> ChecksumOfFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot open ", path.string()));
  constexpr size_t kPieceBytes = size_t{4} << 20;
  std::vector<char> piece(kPieceBytes);
  Xxh3Generator generator;
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    generator.Update(piece.data(), static_cast<size_t>(file.gcount()));
  }
  if (file.bad()) return absl::DataLossError(absl::StrCat("cannot read all of ", path.string()));
  generator.Finalize();
  return generator.GetChecksum();
}

}  // namespace afterimage
