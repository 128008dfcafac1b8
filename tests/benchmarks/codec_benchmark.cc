// Sizes, errors and rates of the codecs beside memcpy of the same values as fp16: ViT-B/16, five levels, all
// tokens, no pixels, on made-up activations (activations.h). One thread.
//
//   codec_benchmark [ROUNDS [CODEC [CHANNELS]]]         15 rounds of every codec with a name by default
//   codec_benchmark --write FILE.safetensors COUNT      as many images, for codec_anchors.py and codec-bench
//   codec_benchmark --write-massive FILE.safetensors COUNT     with tokens far off, too
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "core/base/allocator.h"
#include "core/base/thread_cpu_time.h"
#include "core/feature/bfloat16.h"
#include "core/feature/codec_error.h"
#include "core/feature/entropy.h"
#include "core/feature/ezq.h"
#include "core/feature/feature_block.h"
#include "core/feature/half.h"
#include "core/feature/lossless16.h"
#include "core/feature/profile_builder.h"
#include "core/tensors/safetensors.h"
#include "tests/benchmarks/activations.h"
#include "tests/benchmarks/paired.h"
#include "tests/benchmarks/support.h"

namespace afterimage {
namespace {

constexpr uint64_t kSeed = 1;
constexpr int kNumCalibrated = 48;
constexpr int kNumRecords = 16;  // 24 MB of fp16: more than the caches hold

double SecondsOf(const std::function<void()>& work) {
  const absl::Duration start = ThreadCpuTime();
  work();
  return absl::ToDoubleSeconds(ThreadCpuTime() - start);
}

// `work` and memcpy of as many values as fp16, in turn; GB/s are of those fp16 bytes.
void Compare(const char* what, int rounds, size_t num_values, const std::function<void()>& copy,
             const std::function<void()>& work) {
  copy();
  work();
  std::vector<double> of_work, of_copy;
  for (int i = 0; i < rounds; ++i) {
    if (i % 2 == 0) of_copy.push_back(SecondsOf(copy));
    of_work.push_back(SecondsOf(work));
    if (i % 2 == 1) of_copy.push_back(SecondsOf(copy));
  }
  const double bytes = 2.0 * static_cast<double>(num_values);
  const benchmarks::PairedResult result = benchmarks::ComparePaired(of_copy, of_work);
  std::printf("  %-34s %6.2f GB/s, %.3f of memcpy's rate (%.3f to %.3f)\n", what,
              bytes / benchmarks::Median(of_work) / 1e9, result.median_ratio, result.low, result.high);
}

// The Huffman frames that records of an entropy-coded codec hold; none of the others.
std::vector<std::vector<uint8_t>> FramesOf(Codec codec, const FeatureProfile& profile,
                                           const std::vector<FeatureRecord>& records) {
  std::vector<std::vector<uint8_t>> frames;
  const bool is_lossless = codec == Codec::kLossless16 || codec == Codec::kLosslessBf16;
  if (!is_lossless && !IsEzq(codec)) return frames;
  for (const FeatureRecord& record : records) {
    for (const LevelFeatures& level : record.levels) {
      const size_t count = level.values.size();
      std::vector<uint8_t> plane(2 * count);
      if (codec == Codec::kLossless16) EncodeHalves(level.values, plane.data());
      if (codec == Codec::kLosslessBf16) EncodeBfloat16s(level.values, plane.data());
      const std::vector<uint8_t> bytes =
          is_lossless
              ? EncodeLossless16(plane)
              : EncodeEzqPlane(profile.FindCodes(level.level)->ezq.Of(codec), record.grid, level.values)
                    .bytes;
      const size_t before = is_lossless ? count : 1;  // lower bytes; the predictor
      frames.emplace_back(bytes.begin() + static_cast<ptrdiff_t>(before), bytes.end());
    }
  }
  return frames;
}

void Run(Codec codec, const FeatureProfile& profile, const std::vector<FeatureRecord>& records, int rounds) {
  CodecMeter meter(codec, &profile);
  std::vector<std::string> encoded;
  for (const FeatureRecord& record : records) {
    if (!meter.Add(record).ok()) std::abort();
    encoded.push_back(EncodeFeatureBlock(record, codec, &profile).value());
  }
  const CodecError error = meter.Total();
  std::printf(
      "%s: %.0f bytes a record, %.4f bytes/value, RMSE %.5f, largest %.4f, worst token's cosine %.6f\n",
      CodecName(codec).c_str(), meter.BytesPerRecord(), error.BytesPerValue(), error.Rmse(), error.largest,
      error.worst_cosine);

  const std::vector<LevelFeatures>& levels = records.front().levels;
  const size_t plane_values = levels.front().values.size();
  std::vector<float> values(records.size() * levels.size() * plane_values);
  std::vector<uint8_t> from(2 * values.size(), 1), to(from.size());
  const auto copy = [&] { std::memcpy(to.data(), from.data(), to.size()); };
  std::vector<FeatureBlock> blocks;
  for (const std::string& bytes : encoded)
    blocks.push_back(FeatureBlock::Parse(AsBytes(bytes), &profile).value());
  Compare("encode to a block", rounds, values.size(), copy, [&] {
    for (const FeatureRecord& record : records) (void)EncodeFeatureBlock(record, codec, &profile).ok();
  });
  // Two bytes a value: of bf16 those that it has.
  const Codec short_float = RowCodec(codec) == Codec::kBf16 ? Codec::kBf16 : Codec::kF16;
  Compare(short_float == Codec::kBf16 ? "decode to bf16, verified" : "decode to fp16, verified", rounds,
          values.size(), copy, [&] {
            uint8_t* target = to.data();
            for (const FeatureBlock& block : blocks) {
              for (const LevelFeatures& level : levels) {
                (void)block.ReadLevelAs(short_float, level.level, {}, {target, 2 * plane_values}).ok();
                target += 2 * plane_values;
              }
            }
          });
  Compare("decode to float32, verified", rounds, values.size(), copy, [&] {
    float* target = values.data();
    for (const FeatureBlock& block : blocks) {
      for (const LevelFeatures& level : levels) {
        (void)block.ReadLevel(level.level, {}, {target, plane_values}).ok();
        target += plane_values;
      }
    }
  });
  const std::vector<std::vector<uint8_t>> frames = FramesOf(codec, profile, records);
  if (frames.empty()) return;
  std::vector<uint8_t> decoded(plane_values);
  Compare("Zstandard alone, in the caches", rounds, values.size(), copy, [&] {
    for (const std::vector<uint8_t>& frame : frames) (void)ReadHuffmanFrame(frame, decoded).ok();
  });
}

void WriteActivations(const std::string& path, int count, int num_massive) {
  const benchmarks::ActivationMaker maker({.num_massive = num_massive}, kSeed);
  std::map<std::string, std::vector<float>> values;
  std::vector<int64_t> shape;
  for (int i = 0; i < count; ++i) {
    const FeatureRecord record = maker.Make(static_cast<uint64_t>(i));
    for (const LevelFeatures& level : record.levels) {
      std::vector<float>& all = values[absl::StrFormat("level_%02d", level.level)];
      all.insert(all.end(), level.values.begin(), level.values.end());
      shape = {count, static_cast<int64_t>(level.values.size() / level.width), level.width};
    }
  }
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, all] : values)
    tensors[name] = {TensorType::kF32, shape,
                     ByteSpan(reinterpret_cast<const uint8_t*>(all.data()), 4 * all.size())};
  benchmarks::Require(WriteSafetensors(path, tensors, {}));
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  using namespace afterimage;  // NOLINT: a program's main
  KeepFreedMemory();
  const std::string first = argc > 1 ? argv[1] : "15";
  if (first.starts_with("--write")) {
    if (argc != 4) {
      std::fprintf(stderr, "codec_benchmark: %s FILE.safetensors COUNT\n", argv[1]);
      return EXIT_FAILURE;
    }
    WriteActivations(argv[2], std::atoi(argv[3]), first == "--write-massive" ? 5 : 0);
    return EXIT_SUCCESS;
  }
  const int rounds = std::atoi(first.c_str());
  for (const int num_massive : {0, 5}) {
    const uint32_t width = argc > 3 ? static_cast<uint32_t>(std::atoi(argv[3])) : 768;
    const benchmarks::ActivationMaker maker({.width = width, .num_massive = num_massive}, kSeed);
    FeatureRecord record = maker.Make(0);
    ProfileBuilder builder(Sha256({}), {8, 9, 10, 11, 12}, record.levels.front().width);
    std::vector<FeatureRecord> records;
    for (uint64_t i = 0; i < kNumCalibrated; ++i) benchmarks::Require(builder.Add(maker.Make(i)));
    for (uint64_t i = 0; i < kNumRecords; ++i) records.push_back(maker.Make(kNumCalibrated + i));
    const FeatureProfile profile = benchmarks::Require(builder.Finish());
    std::printf("%s massive tokens an image\n", num_massive == 0 ? "no" : "five");
    std::vector<Codec> codecs(std::begin(kAllCodecs), std::end(kAllCodecs));
    if (argc > 2) codecs = {benchmarks::Require(ParseCodec(argv[2]))};
    for (const Codec codec : codecs) Run(codec, profile, records, num_massive == 0 ? rounds : 1);
  }
  return EXIT_SUCCESS;
}
