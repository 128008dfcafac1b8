// What the tests of the folder cache share, on top of the made-up records.
#pragma once

#include <fstream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/set_folder.h"
#include "core/base/files.h"
#include "core/feature/feature_catalog.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::testing {

// About one picture in 16 cannot be decoded.
inline bool FixtureFails(const RecordKey& key) { return key.image.bytes[15] % 16 == 0; }

inline ClaimRequest FixtureRequest(const Digest256& manifest, uint32_t num_view_seeds,
                                   const std::string& worker = "w") {
  ClaimRequest request;
  request.manifest = manifest;
  request.num_view_seeds = num_view_seeds;
  request.worker = worker;
  return request;
}

// All records of (manifest, K): how many are in each state.
struct StateCounts {
  uint64_t ok = 0;
  uint64_t missing = 0;
  uint64_t damaged = 0;
  uint64_t failed = 0;
  std::vector<std::string> problems;  // reasons of damaged records, wrong bytes, an error of the read

  bool operator==(const StateCounts&) const = default;
};

inline void PrintTo(const StateCounts& counts, std::ostream* out) {
  *out << "{ok " << counts.ok << ", missing " << counts.missing << ", damaged " << counts.damaged
       << ", failed " << counts.failed;
  for (const std::string& problem : counts.problems) *out << "; " << problem;
  *out << "}";
}

inline StateCounts CountStates(FeatureStore& store, const Manifest& manifest, uint32_t num_view_seeds) {
  std::vector<RecordKey> keys;
  for (uint32_t seed = 0; seed < num_view_seeds; ++seed) {
    for (const ImageKey& key : manifest.keys()) keys.push_back({key, seed});
  }
  StateCounts counts;
  const absl::Status status = store.Read(keys, {}, {}, [&](size_t index, RecordResult result) {
    const ByteSpan got = result.block.bytes;
    switch (result.state) {
      case RecordState::kOk:
        ++counts.ok;
        if (std::string(got.begin(), got.end()) != MakeSyntheticBlock(store.description(), keys[index])) {
          counts.problems.push_back("other bytes under " + keys[index].ToString());
        }
        break;
      case RecordState::kMissing:
        ++counts.missing;
        break;
      case RecordState::kDamaged:
        ++counts.damaged;
        counts.problems.push_back(result.reason);
        break;
      case RecordState::kFailed:
        ++counts.failed;
        break;
    }
    return true;
  });
  if (!status.ok()) counts.problems.push_back(status.ToString());
  return counts;
}

// What CountStates gives for a set that was filled with FixtureFails.
inline StateCounts WholeSet(const Manifest& manifest, uint32_t num_view_seeds) {
  StateCounts counts;
  for (const ImageKey& key : manifest.keys()) ++(FixtureFails({key, 0}) ? counts.failed : counts.ok);
  counts.ok *= num_view_seeds;
  counts.failed *= num_view_seeds;
  return counts;
}

inline StateCounts NothingThere(const Manifest& manifest, uint32_t num_view_seeds) {
  StateCounts counts;
  counts.missing = manifest.num_keys() * num_view_seeds;
  return counts;
}

// The table file that holds these bytes, and where in it. Tables are not compressed: a block stands in one as
// it is.
struct PlaceOnDisk {
  std::filesystem::path file;
  size_t offset = 0;
};
inline PlaceOnDisk FindOnDisk(const std::filesystem::path& database, const std::string& bytes) {
  for (const auto& entry : std::filesystem::directory_iterator(database)) {
    if (entry.path().extension() != ".sst") continue;
    const size_t offset = ReadFile(entry.path()).value().find(bytes);
    if (offset != std::string::npos) return {entry.path(), offset};
  }
  return {};
}

// Flips a bit in the middle of the stored block of a key; false if it is nowhere.
inline bool FlipBitOf(const SetFolder& folder, const SetDescription& description, const RecordKey& key) {
  const std::string block = MakeSyntheticBlock(description, key);
  const PlaceOnDisk place = FindOnDisk(folder.database(), block);
  if (place.file.empty()) return false;
  std::fstream file(place.file, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(place.offset + block.size() / 2));
  file.put(static_cast<char>(block[block.size() / 2] ^ 0x10));
  return file.good();
}

}  // namespace afterimage::testing
