#include "core/feature/profile_builder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/feature/feature_block_values.h"
#include "core/feature/profile_choices.h"

namespace afterimage {
namespace {

constexpr double kScale = 65536.0;  // 2^16

const LevelFeatures* FindLevel(const FeatureRecord& record, uint32_t level) {
  const auto found = std::ranges::find(record.levels, level, &LevelFeatures::level);
  return found == record.levels.end() ? nullptr : &*found;
}

// To the nearest multiple of 2^-16, halves away from zero. At most 2^24 in magnitude.
int64_t Fixed(float value) {
  const double scaled = static_cast<double>(value) * kScale;
  return static_cast<int32_t>(scaled + (scaled < 0 ? -0.5 : 0.5));
}

// Means and deviations of integers whose sums are exact.
void SetMoments(int64_t sum, absl::uint128 square_sum, uint64_t count, float& mean, float& sigma) {
  // Taken from a whole number near the mean, the squares cancel exactly; what is left to doubles does not
  // cancel.
  const int64_t n = static_cast<int64_t>(count);
  int64_t origin = sum / n;
  if (origin * n > sum) --origin;  // floor
  const absl::int128 squares = static_cast<absl::int128>(square_sum) - absl::int128(2) * origin * sum +
                               absl::int128(n) * origin * origin;
  const double rest = static_cast<double>(sum - n * origin) / static_cast<double>(n);  // in [0, 1)
  const double variance = static_cast<double>(squares) / static_cast<double>(n) - rest * rest;
  mean = static_cast<float>((static_cast<double>(origin) + rest) / kScale);
  sigma = static_cast<float>(std::sqrt(std::max(variance, 0.0)) / kScale);
}

}  // namespace

ProfileBuilder::ProfileBuilder(const Digest256& feature_id, const std::vector<uint32_t>& levels,
                               uint32_t width)
    : feature_id_(feature_id), width_(width) {
  for (const uint32_t level : levels) {
    levels_.push_back({level, std::vector<int64_t>(width), std::vector<absl::uint128>(width)});
  }
}

absl::Status ProfileBuilder::Add(const FeatureRecord& record) {
  for (const LevelSums& sums : levels_) {
    const LevelFeatures* const level = FindLevel(record, sums.level);
    if (level == nullptr || level->width != width_ || level->values.size() != record.tokens.size() * width_) {
      return absl::InvalidArgumentError(
          absl::StrCat("calibration: the record has no level ", sums.level, " of width ", width_));
    }
    const size_t bad = block::FirstBeyond(level->values, kLargestFeature);
    if (bad == level->values.size()) continue;
    return absl::InvalidArgumentError(absl::StrCat("calibration: level ", sums.level, ", token ",
                                                   record.tokens[bad / width_], ", channel ", bad % width_,
                                                   ": ", level->values[bad], " is no number within ",
                                                   kLargestFeature, ", as LayerNorm gives"));
  }
  for (LevelSums& sums : levels_) {
    // At most 65026 rows: squares of up to 2^48 stay within 64 bits.
    std::vector<int64_t> sum(width_);
    std::vector<uint64_t> square_sum(width_);
    const float* value = FindLevel(record, sums.level)->values.data();
    for (size_t row = 0; row < record.tokens.size(); ++row, value += width_) {
      for (uint32_t channel = 0; channel < width_; ++channel) {
        const int64_t fixed = Fixed(value[channel]);
        sum[channel] += fixed;
        square_sum[channel] += static_cast<uint64_t>(fixed * fixed);
      }
    }
    for (uint32_t channel = 0; channel < width_; ++channel) {
      sums.sum[channel] += sum[channel];
      sums.square_sum[channel] += square_sum[channel];
    }
  }
  num_rows_ += record.tokens.size();
  ++num_records_;
  return absl::OkStatus();
}

void ProfileBuilder::Merge(const ProfileBuilder& other) {
  const auto level_of = [](const LevelSums& sums) { return sums.level; };
  // A broken invariant of ours: sums of different things.
  if (feature_id_ != other.feature_id_ || width_ != other.width_ ||
      !std::ranges::equal(levels_, other.levels_, {}, level_of, level_of)) {
    std::abort();
  }
  num_records_ += other.num_records_;
  num_rows_ += other.num_rows_;
  for (size_t i = 0; i < levels_.size(); ++i) {
    for (uint32_t channel = 0; channel < width_; ++channel) {
      levels_[i].sum[channel] += other.levels_[i].sum[channel];
      levels_[i].square_sum[channel] += other.levels_[i].square_sum[channel];
    }
  }
}

absl::StatusOr<FeatureProfile> ProfileBuilder::Finish() const {
  if (num_records_ == 0) return absl::FailedPreconditionError("calibration: no records were read");
  ProfileContent content{feature_id_, width_, num_records_, num_rows_, {}};
  for (const LevelSums& sums : levels_) {
    LevelProfile& level = content.levels.emplace_back();
    level.level = sums.level;
    level.mean.resize(width_);
    level.sigma.resize(width_);
    for (uint32_t channel = 0; channel < width_; ++channel) {
      SetMoments(sums.sum[channel], sums.square_sum[channel], num_rows_, level.mean[channel],
                 level.sigma[channel]);
    }
    level.i8x_clip = ChooseI8xClip(level.sigma);
    level.wide = ChooseWideChannels(level.sigma);
  }
  return FeatureProfile::Create(std::move(content));
}

}  // namespace afterimage
