// What the benchmarks of the endpoint and of the embedded store read: records of one size in a cache folder,
// and the same bytes in a plain file for everything that is compared with them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/order/epoch_source.h"

namespace afterimage::benchmarks {

// Five levels of made-up features in f16, without pixels.
struct RecordShape {
  const char* name = "";
  uint32_t grid = 0;
  uint32_t width = 0;
  uint64_t num_records = 0;  // about 0.8 GB of them: beyond every cache but the page cache
};
inline constexpr uint32_t kNumLevels = 5;
inline constexpr uint64_t kBatch = 32;
inline constexpr RecordShape kRecordShapes[] = {
    {"45 KB", 7, 90, 16'384}, {"230 KB", 14, 117, 4'096}, {"760 KB", 14, 384, 1'216}};

struct EndpointData {
  std::string cache;       // a folder
  std::string block_file;  // the blocks, one after the other, in order of their keys
  std::string order_file;  // uint32 per position of epoch 0: which block
  uint64_t block_bytes = 0;
  uint64_t num_records = 0;
  EpochRequest request;  // epoch 0, whole records, one rank

  uint64_t bytes() const { return block_bytes * num_records; }
};

// Under `folder`; made where it is not there yet. Reads all of it once, so that it is in the page cache.
EndpointData PrepareEndpointData(const std::filesystem::path& folder, const RecordShape& shape);

// A batch of targets as a trainer has it: for each level samples x rows x width in f16, written before the
// clock starts.
class BatchTensor {
 public:
  explicit BatchTensor(uint64_t bytes_per_sample) : bytes_per_sample_(bytes_per_sample) {
    bytes_.assign(kBatch * bytes_per_sample, 1);
  }

  // Where `sample` of the batch goes that is not split into levels.
  uint8_t* Sample(uint64_t sample) { return bytes_.data() + sample % kBatch * bytes_per_sample_; }
  // All samples of one level.
  uint8_t* Level(size_t level, uint64_t level_bytes) { return bytes_.data() + level * kBatch * level_bytes; }

 private:
  const uint64_t bytes_per_sample_;
  std::vector<uint8_t> bytes_;
};

// Reads one epoch into the tensor; bytes of blocks as they came. Ends the program when a record is not OK.
uint64_t ReadEpochInto(EpochSource& source, const EpochRequest& request, BatchTensor& tensor);

// FOLDER [--rounds N] [--size 45|230|760] [--python PYTHON] [--brief]; ends the program, with its usage, on anything else.
struct EndpointArguments {
  std::filesystem::path folder;
  int rounds = 15;
  std::vector<RecordShape> shapes;  // all, or the one of that size
  std::string python;               // that runs endpoint_anchors.py; empty: nothing of it is measured
  bool brief = false;               // only the sides that the bars compare with first
  bool same_host = false;
};
EndpointArguments ParseEndpointArguments(int argc, char** argv);

}  // namespace afterimage::benchmarks
