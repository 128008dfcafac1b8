// What calibration learnt about the numbers of one feature id, for the codecs that need to know.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "core/feature/ezq.h"
#include "core/feature/i8x.h"
#include "core/feature/packed_codes.h"
#include "core/feature/profile_choices.h"
#include "core/feature/profile_figures.h"

namespace afterimage {

// No stored feature is larger: a LayerNorm of width W without an affine part gives at most sqrt(W - 1), and
// teachers have at most 65536 channels.
inline constexpr float kLargestFeature = 256.0f;
// Of a channel's mean, in magnitude: above what a LayerNorm of fewer than 54757 channels can give. Codecs
// count on it.
inline constexpr float kLargestMean = 234.0f;

// Mean and standard deviation of each channel of one level, over tokens, and what was chosen from them.
struct LevelProfile {
  uint32_t level = 0;               // 1-based teacher level
  std::vector<float> mean = {};     // of each channel; |mean| <= kLargestMean
  std::vector<float> sigma = {};    // >= 0
  float i8x_clip = kWidestI8xClip;  // steps of i8x are sigma * clip / 127
  std::vector<uint16_t> wide = {};  // channels that i4x to i6x keep in whole bytes, strictly ascending

  bool operator==(const LevelProfile&) const = default;
};

// Scales of one level, ready for use.
struct LevelCodes {
  I8xChannels i8x;
  PackedChannels packed;  // of i4x, i5x and i6x
  EzqChannels ezq;
};

struct ProfileContent {
  Digest256 feature_id;  // teacher, preprocessing and views
  uint32_t width = 0;    // channels of each level
  uint64_t num_records = 0;
  uint64_t num_rows = 0;             // tokens of a level, all records together
  std::vector<LevelProfile> levels;  // ascending

  bool operator==(const ProfileContent&) const = default;
};

// Named by its digest, and so never changed: calibrating again makes another one. Holds no time and no host.
// Immutable, thread-safe.
class FeatureProfile {
 public:
  // InvalidArgument: no level, levels or wide channels not ascending, sizes that differ, a number that is
  // none or out of range.
  static absl::StatusOr<FeatureProfile> Create(ProfileContent content);
  // The same profile, of the same digest, with what was measured beside it. InvalidArgument: CheckFigures,
  // a level that is not the profile's.
  absl::StatusOr<FeatureProfile> WithFigures(ProfileFigures figures) const;

  const Digest256& digest() const { return digest_; }
  const ProfileContent& content() const { return content_; }
  const Digest256& feature_id() const { return content_.feature_id; }
  uint32_t width() const { return content_.width; }
  // Null: not a level of the profile.
  const LevelProfile* FindLevel(uint32_t level) const;
  // What the codecs make of it, computed once.
  const LevelCodes* FindCodes(uint32_t level) const;
  // Empty where nobody kept any.
  const ProfileFigures& figures() const { return figures_; }

  // The bytes of profiles/<digest> (docs/profile_format.md): the content, the SHA-256 of it, which is the
  // digest, and the figures.
  std::string Serialize() const;
  // FailedPrecondition: another format version (both told). DataLoss: anything else that does not fit.
  static absl::StatusOr<FeatureProfile> Parse(ByteSpan bytes);

 private:
  ProfileContent content_;
  std::vector<LevelCodes> codes_;  // parallel to content_.levels
  ProfileFigures figures_;
  Digest256 digest_;
};

}  // namespace afterimage
