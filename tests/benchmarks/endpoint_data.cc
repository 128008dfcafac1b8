#include "tests/benchmarks/endpoint_data.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "client/open_cache.h"
#include "core/feature/feature_block.h"
#include "tests/benchmarks/support.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::benchmarks {
namespace {

namespace fs = std::filesystem;

SetDescription Describe(const RecordShape& shape) {
  return testing::MakeSyntheticDescription({.num_levels = kNumLevels,
                                            .levels = {1, 2, 3, 4, 5},
                                            .width = shape.width,
                                            .grid = shape.grid,
                                            .view_size = shape.grid * 2,
                                            .pixels = false,
                                            .layout = {.num_shards = 1}});
}

void WriteBlocks(FeatureStore& store, const Manifest& manifest, const std::string& file) {
  std::ofstream blocks(file, std::ios::binary);
  for (const ImageKey& key : manifest.keys()) {
    const PinnedBytes block = Require(ReadOne(store, {key, 0}));
    blocks.write(reinterpret_cast<const char*>(block.bytes.data()),
                 static_cast<std::streamsize>(block.bytes.size()));
  }
  blocks.close();
  if (!blocks) Require(absl::DataLossError("cannot write " + file));
}

void WriteOrder(const EpochRequest& request, const Manifest& manifest, const std::string& file) {
  std::ofstream order(file, std::ios::binary);
  for (uint64_t position = 0; position < manifest.num_occurrences(); ++position) {
    const OrderEntry entry = EntryAt(request.order, 0, request.epoch, position);
    const auto index = static_cast<uint32_t>(manifest.KeyIndexOfOccurrence(entry.occurrence));
    order.write(reinterpret_cast<const char*>(&index), sizeof(index));
  }
  order.close();
  if (!order) Require(absl::DataLossError("cannot write " + file));
}

void ReadAll(const fs::path& path) {
  std::vector<char> buffer(1 << 20);
  std::ifstream file(path, std::ios::binary);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()))) {
  }
}

}  // namespace

EndpointData PrepareEndpointData(const fs::path& folder, const RecordShape& shape) {
  const SetDescription description = Describe(shape);
  const Manifest manifest = testing::MakeSyntheticManifest(shape.num_records);
  fs::path place = folder / shape.name;
  fs::create_directories(place);
  EndpointData data;
  data.cache = (place / "cache").string();
  data.block_file = (place / "blocks.bin").string();
  data.order_file = (place / "order.bin").string();
  data.num_records = shape.num_records;
  data.request.set_id = description.set.Id();
  data.request.order.manifest = manifest.digest();
  data.request.order.num_occurrences = manifest.num_occurrences();
  data.request.order.mask.num_visible = shape.grid * shape.grid * 3 / 10;
  data.request.global_batch = kBatch;

  const OpenedCache cache = Require(OpenCache(data.cache, {.create = true}));
  if (!fs::exists(data.order_file)) {
    Require(cache.catalog->CreateSet(description).status());
    Require(cache.catalog->PutManifest(manifest));
    const OpenedSet set = Require(cache.catalog->OpenSet(data.request.set_id, OpenMode::kContribute));
    Require(testing::FillSet(set, manifest.digest(), 1));
    WriteBlocks(*set.store, manifest, data.block_file);
    WriteOrder(data.request, manifest, data.order_file);
  }
  data.block_bytes = fs::file_size(data.block_file) / shape.num_records;
  for (const auto& entry : fs::recursive_directory_iterator(place)) {
    if (entry.is_regular_file()) ReadAll(entry.path());
  }
  return data;
}

uint64_t ReadEpochInto(EpochSource& source, const EpochRequest& request, BatchTensor& tensor) {
  uint64_t bytes = 0;
  const std::unique_ptr<EpochStream> stream = Require(source.Open(request));
  for (uint64_t sample = 0;; ++sample) {
    const std::optional<EpochFrame> frame = Require(stream->Next());
    if (!frame.has_value()) return bytes;
    if (frame->state != RecordState::kOk)
      Require(absl::InternalError("a record is not OK: " + frame->reason));
    const FeatureBlock block = Require(FeatureBlock::Parse(frame->block));
    const uint64_t level_bytes = uint64_t{2} * block.num_tokens() * block.width();
    for (size_t i = 0; i < block.levels().size(); ++i) {
      uint8_t* target = tensor.Level(i, level_bytes) + sample % kBatch * level_bytes;
      Require(block.ReadLevelAs(Codec::kF16, block.levels()[i], {}, {target, level_bytes}));
    }
    bytes += frame->block.bytes.size();
    stream->ReturnCredit(frame->CostBytes());
  }
}

EndpointArguments ParseEndpointArguments(int argc, char** argv) {
  EndpointArguments arguments;
  std::string size;
  bool is_understood = true;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool has_value = i + 1 < argc;
    if (flag == "--rounds" && has_value) {
      arguments.rounds = std::atoi(argv[++i]);
    } else if (flag == "--size" && has_value) {
      size = std::string(argv[++i]) + " KB";
    } else if (flag == "--python" && has_value) {
      arguments.python = argv[++i];
    } else if (flag == "--brief") {
      arguments.brief = true;
    } else if (flag == "--same-host") {
      arguments.brief = arguments.same_host = true;
    } else if (arguments.folder.empty() && !flag.starts_with("-")) {
      arguments.folder = flag;
    } else {
      is_understood = false;
    }
  }
  for (const RecordShape& shape : kRecordShapes) {
    if (size.empty() || size == shape.name) arguments.shapes.push_back(shape);
  }
  if (!is_understood || arguments.folder.empty() || arguments.rounds < 1 || arguments.shapes.empty()) {
    std::fprintf(
        stderr,
        "usage: %s FOLDER [--rounds N] [--size 45|230|760] [--python PYTHON] [--brief | --same-host]\n",
        argv[0]);
    std::exit(2);
  }
  return arguments;
}

}  // namespace afterimage::benchmarks
