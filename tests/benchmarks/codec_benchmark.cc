// Rates of the codecs beside memcpy of the same values as fp16: ViT-B/16, five levels, all tokens, no pixels.
//
//   codec_benchmark [ROUNDS]        (15 by default)
//
// Values are made up with a transformer's statistics: each channel has a mean and a lognormal scale of its
// own, three channels have a large mean and three a scale 10 to 30 times the others'; each token is then
// normalised. One thread.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/feature/codec_error.h"
#include "core/feature/feature_block.h"
#include "core/feature/profile_builder.h"
#include "tests/benchmarks/paired.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

constexpr uint32_t kWidth = 768;
constexpr uint32_t kTokens = 197;
constexpr int kNumRecords = 16;  // 24 MB of fp16: more than the caches hold
const std::vector<uint32_t> kLevels = {8, 9, 10, 11, 12};

struct Channels {
  std::vector<float> mean, scale;
};

Channels MakeChannels(std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  Channels channels;
  for (uint32_t c = 0; c < kWidth; ++c) {
    channels.mean.push_back(0.5f * normal(random));
    channels.scale.push_back(0.35f * std::exp(0.5f * normal(random)));
  }
  for (int i = 0; i < 3; ++i) {
    channels.mean[random() % kWidth] = 15.0f;
    channels.scale[random() % kWidth] *= 10.0f * static_cast<float>(i + 1);
  }
  return channels;
}

// As the affine-free LayerNorm leaves them.
void Normalise(std::span<float> token) {
  double sum = 0, squares = 0;
  for (const float value : token) sum += value;
  const double mean = sum / static_cast<double>(token.size());
  for (const float value : token) squares += (value - mean) * (value - mean);
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(token.size()));
  for (float& value : token) value = static_cast<float>((value - mean) * inverse);
}

std::vector<FeatureRecord> MakeRecords(int count, uint64_t seed) {
  const SetDescription description = testing::MakeSyntheticDescription({.num_levels = 12,
                                                                        .levels = kLevels,
                                                                        .width = kWidth,
                                                                        .grid = 14,
                                                                        .view_size = 224,
                                                                        .pixels = false,
                                                                        .codec = Codec::kF32});
  std::mt19937_64 fixed(1), random(seed);
  std::vector<Channels> levels;
  for (size_t i = 0; i < kLevels.size(); ++i) levels.push_back(MakeChannels(fixed));
  std::normal_distribution<float> normal;
  std::vector<FeatureRecord> records;
  for (int i = 0; i < count; ++i) {
    FeatureRecord& record = records.emplace_back(
        testing::MakeSyntheticRecord(description, {testing::SyntheticImageKey(static_cast<uint64_t>(i)), 0}));
    for (size_t l = 0; l < kLevels.size(); ++l) {
      std::vector<float>& values = record.levels[l].values;
      for (size_t at = 0; at < values.size(); ++at) {
        const size_t c = at % kWidth;
        values[at] = levels[l].mean[c] + levels[l].scale[c] * normal(random);
      }
      for (size_t at = 0; at < values.size(); at += kWidth) Normalise(std::span(values).subspan(at, kWidth));
    }
  }
  return records;
}

double SecondsOf(const std::function<void()>& work) {
  const absl::Time start = absl::Now();
  work();
  return absl::ToDoubleSeconds(absl::Now() - start);
}

// `work` and memcpy of as many values as fp16, in turn; GB/s are of those fp16 bytes.
void Compare(const char* what, int rounds, const std::function<void()>& copy,
             const std::function<void()>& work) {
  copy();
  work();
  std::vector<double> of_work, of_copy;
  for (int i = 0; i < rounds; ++i) {
    if (i % 2 == 0) of_copy.push_back(SecondsOf(copy));
    of_work.push_back(SecondsOf(work));
    if (i % 2 == 1) of_copy.push_back(SecondsOf(copy));
  }
  const double bytes = 2.0 * kNumRecords * static_cast<double>(kLevels.size()) * kTokens * kWidth;
  const benchmarks::PairedResult result = benchmarks::ComparePaired(of_copy, of_work);
  std::printf("  %-34s %6.2f GB/s, %.3f of memcpy's rate (%.3f to %.3f)\n", what,
              bytes / benchmarks::Median(of_work) / 1e9, result.median_ratio, result.low, result.high);
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

  const size_t plane_values = size_t{kTokens} * kWidth;
  std::vector<uint8_t> from(2 * kNumRecords * kLevels.size() * plane_values, 1), to(from.size());
  std::vector<float> values(kNumRecords * kLevels.size() * plane_values);
  const auto copy = [&] { std::memcpy(to.data(), from.data(), to.size()); };
  std::vector<FeatureBlock> blocks;
  for (const std::string& bytes : encoded)
    blocks.push_back(FeatureBlock::Parse(AsBytes(bytes), &profile).value());
  Compare("encode to a block", rounds, copy, [&] {
    for (const FeatureRecord& record : records) (void)EncodeFeatureBlock(record, codec, &profile).ok();
  });
  Compare("decode to float32, verified", rounds, copy, [&] {
    float* target = values.data();
    for (const FeatureBlock& block : blocks) {
      for (const uint32_t level : kLevels) {
        (void)block.ReadLevel(level, {}, {target, plane_values}).ok();
        target += plane_values;
      }
    }
  });
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  using namespace afterimage;  // NOLINT: a program's main
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  ProfileBuilder builder(Sha256({}), kLevels, kWidth);
  for (const FeatureRecord& record : MakeRecords(64, 2)) {
    if (!builder.Add(record).ok()) std::abort();
  }
  const FeatureProfile profile = builder.Finish().value();
  const std::vector<FeatureRecord> records = MakeRecords(kNumRecords, 3);
  for (const Codec codec : kAllCodecs) Run(codec, profile, records, rounds);
  return 0;
}
