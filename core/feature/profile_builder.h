// The statistics of calibration: one pass over records.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/feature/feature_record.h"
#include "core/feature/profile.h"

namespace afterimage {

// Mean and deviation of each channel, and what profile_choices.h makes of them. Values are rounded to
// multiples of 2^-16 and summed as integers, exactly: the profile is the same, bit for bit, in whatever order
// records are added and over however many builders they are spread. Its own error is below 2^-17 for a mean
// and for a deviation. Memory: 24 bytes per level and channel.
//
// Not thread-safe: one builder per thread, merged in the end.
class ProfileBuilder {
 public:
  // Of these levels, ascending, each of `width` channels.
  ProfileBuilder(const Digest256& feature_id, const std::vector<uint32_t>& levels, uint32_t width);

  // Every token that the record stores. InvalidArgument: a level is missing or of another width, a value is
  // not finite or beyond kLargestFeature (level, token and channel are named); nothing is added then.
  absl::Status Add(const FeatureRecord& record);
  // Takes in what another builder of the same feature id, levels and width has seen.
  void Merge(const ProfileBuilder& other);

  uint64_t num_records() const { return num_records_; }
  // FailedPrecondition: nothing was added.
  absl::StatusOr<FeatureProfile> Finish() const;

 private:
  struct LevelSums {
    uint32_t level = 0;
    std::vector<int64_t> sum;               // of values * 2^16
    std::vector<absl::uint128> square_sum;  // of their squares
  };

  Digest256 feature_id_;
  uint32_t width_ = 0;
  uint64_t num_records_ = 0;
  uint64_t num_rows_ = 0;
  std::vector<LevelSums> levels_;
};

}  // namespace afterimage
