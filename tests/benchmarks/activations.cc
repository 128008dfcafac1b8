#include "tests/benchmarks/activations.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "tests/testing/synthetic_records.h"

namespace afterimage::benchmarks {
namespace {

constexpr size_t kNumFields = 192;
constexpr float kMassive = 30.0f;  // deviations of an ordinary channel

// White noise, smoothed by the nine neighbours twice, with variance 1.
std::vector<float> SmoothField(uint32_t grid, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  constexpr int kBorder = 2;
  const int side = static_cast<int>(grid) + 2 * kBorder;
  std::vector<float> noise(static_cast<size_t>(side) * side);
  for (float& value : noise) value = normal(random);
  constexpr float kWeights[5] = {1, 2, 3, 2, 1};  // a box of three, twice
  const float scale = 1.0f / 19.0f;               // of the squares of all products of two weights: 19^2
  std::vector<float> field;
  for (int y = 0; y < static_cast<int>(grid); ++y) {
    for (int x = 0; x < static_cast<int>(grid); ++x) {
      float sum = 0;
      for (int dy = 0; dy < 5; ++dy) {
        for (int dx = 0; dx < 5; ++dx)
          sum += kWeights[dy] * kWeights[dx] * noise[static_cast<size_t>(y + dy) * side + x + dx];
      }
      field.push_back(sum * scale);
    }
  }
  return field;
}

}  // namespace

void NormaliseToken(std::span<float> token) {
  double sum = 0, squares = 0;
  for (const float value : token) sum += value;
  const double mean = sum / static_cast<double>(token.size());
  for (const float value : token) squares += (value - mean) * (value - mean);
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(token.size()) + 1e-12);
  for (float& value : token) value = static_cast<float>((value - mean) * inverse);
}

ActivationMaker::ActivationMaker(ActivationSpec spec, uint64_t seed) : spec_(std::move(spec)), seed_(seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const size_t width = spec_.width;
  // The wide channels are the same ones at every level, as in a residual stream.
  std::vector<size_t> wide(6);
  for (size_t& channel : wide) channel = random() % width;
  Channels channels;
  for (size_t c = 0; c < width; ++c) {
    channels.mean.push_back(0.55f * normal(random));
    channels.class_mean.push_back(0.55f * normal(random));
    channels.scale.push_back(0.38f * std::exp(0.4f * normal(random)));
  }
  for (size_t i = 0; i < 3; ++i) {
    channels.mean[wide[i]] = 10.0f;
    channels.scale[wide[3 + i]] *= static_cast<float>(4 << i);
  }
  for (size_t l = 0; l < spec_.levels.size(); ++l) {
    if (l > 0) {
      for (size_t c = 0; c < width; ++c) {
        channels.mean[c] += 0.1f * normal(random);
        channels.scale[c] *= std::exp(0.1f * normal(random));
      }
    }
    levels_.push_back(channels);
    std::vector<float>& mixing = mixing_.emplace_back(width * kNumFields);
    const float unit = 1.0f / std::sqrt(static_cast<float>(kNumFields));
    for (float& weight : mixing) weight = unit * normal(random);
  }
}

FeatureRecord ActivationMaker::Make(uint64_t image) const {
  const SetDescription description =
      testing::MakeSyntheticDescription({.num_levels = std::max(spec_.levels.back(), uint32_t{12}),
                                         .levels = spec_.levels,
                                         .width = spec_.width,
                                         .grid = spec_.grid,
                                         .view_size = 16 * spec_.grid,
                                         .pixels = false,
                                         .codec = Codec::kF32});
  FeatureRecord record = testing::MakeSyntheticRecord(description, {testing::SyntheticImageKey(image), 0});
  std::mt19937_64 random(seed_ * 1'000'003 + image + 1);
  std::normal_distribution<float> normal;
  const size_t width = spec_.width, patches = size_t{spec_.grid} * spec_.grid;
  const float kept = static_cast<float>(spec_.level_correlation);
  const float added = std::sqrt(1 - kept * kept);
  const float smooth = std::sqrt(static_cast<float>(spec_.smooth_share));
  const float own = std::sqrt(1 - static_cast<float>(spec_.smooth_share));
  std::vector<size_t> massive;
  for (int i = 0; i < spec_.num_massive; ++i) massive.push_back(1 + random() % patches);
  std::vector<float> stream((patches + 1) * width, 0.0f);  // deviations, before scale and mean
  for (size_t l = 0; l < spec_.levels.size(); ++l) {
    std::vector<std::vector<float>> fields;
    for (size_t k = 0; k < kNumFields; ++k) fields.push_back(SmoothField(spec_.grid, random));
    const Channels& channels = levels_[l];
    std::vector<float>& values = record.levels[l].values;
    const float before = l == 0 ? 0.0f : kept, fresh = l == 0 ? 1.0f : added;
    std::vector<float> sums(patches);
    for (size_t c = 0; c < width; ++c) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (size_t k = 0; k < kNumFields; ++k) {
        const float weight = mixing_[l][c * kNumFields + k];
        for (size_t p = 0; p < patches; ++p) sums[p] += weight * fields[k][p];
      }
      stream[c] = before * stream[c] + fresh * normal(random);
      for (size_t p = 0; p < patches; ++p) {
        float& at = stream[(1 + p) * width + c];
        at = before * at + fresh * (smooth * sums[p] + own * normal(random));
      }
    }
    for (size_t token = 0; token <= patches; ++token) {
      const std::vector<float>& mean = token == 0 ? channels.class_mean : channels.mean;
      for (size_t c = 0; c < width; ++c)
        values[token * width + c] = mean[c] + channels.scale[c] * stream[token * width + c];
    }
    for (const size_t token : massive) {
      for (const size_t channel : {width / 3, width / 2}) values[token * width + channel] += kMassive;
    }
    for (size_t token = 0; token <= patches; ++token)
      NormaliseToken(std::span(values).subspan(token * width, width));
  }
  return record;
}

}  // namespace afterimage::benchmarks
