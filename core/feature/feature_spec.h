// What the numbers mean, and what is stored: the two identities.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/feature/codec.h"
#include "core/identity/canonical_spec.h"
#include "core/mask/mask.h"
#include "core/view/view_spec.h"

namespace afterimage {

// The part of a teacher that consumers need to know.
struct TeacherGeometry {
  uint32_t num_levels = 0;  // T; levels are numbered 1..T
  uint32_t width = 0;       // channels of a level
  uint32_t grid = 0;        // patches per side; tokens = 1 class token + grid * grid patches
  uint32_t num_tokens() const { return 1 + grid * grid; }
  uint32_t num_patches() const { return grid * grid; }

  bool operator==(const TeacherGeometry&) const = default;
};

// What the numbers mean. The feature id is the SHA-256 of its canonical form.
struct FeatureSpec {
  Json teacher;        // weights digest, family, fully resolved architecture, position-table resize, compute
                       // precision
  Json preprocessing;  // mean, std (decimal strings), size, filter
  ViewSpec view;
  TeacherGeometry geometry;
  std::string normalization_eps = "1e-05";  // of the stored affine-free LayerNorm

  Json ToCanonical() const;
  static absl::StatusOr<FeatureSpec> FromCanonical(const Json& json);
  Digest256 Id() const;
};

// What a teacher's spec says under "importance" where it computes none: every patch weighs the same then.
inline constexpr char kNoImportance[] = "none";

enum class TokenPolicy : uint8_t { kAll = 1, kVisible = 2 };

// How blocks hold pixels: as they are; or without loss in less, where they take less so (docs/codecs.md).
enum class PixelCoding : uint8_t { kRaw = 1, kPacked = 2 };

// What is stored. The set id is the SHA-256 of its canonical form. Neither data set nor number of view seeds
// is in it.
struct SetSpec {
  Digest256 feature_id;
  std::vector<uint32_t> levels;  // ascending, 1-based
  TokenPolicy token_policy = TokenPolicy::kVisible;
  MaskSpec mask;  // only with kVisible
  // Where several teachers train one student: the feature id of the one whose importance these records hold, so
  // that masks drawn from them are that teacher's. Zero = their own teacher's.
  Digest256 importance_from;
  bool pixels = true;
  PixelCoding pixel_coding = PixelCoding::kRaw;  // only with pixels
  Codec codec = Codec::kF16;
  // Of codecs that need one. Others may have one, for readers who ask for an encoding that does; else zero.
  Digest256 profile_digest;

  Json ToCanonical() const;
  static absl::StatusOr<SetSpec> FromCanonical(const Json& json);
  Digest256 Id() const;
  // The feature id that masks are drawn from.
  const Digest256& MaskSource() const { return importance_from.IsZero() ? feature_id : importance_from; }
};

// What a set keeps of pixels: "packed", "raw" or "none".
std::vector<std::string> PixelsNames();
std::string PixelsName(const SetSpec& set);
// InvalidArgument: another name (lists them).
absl::Status SetPixels(absl::string_view name, SetSpec& set);

// How a set is cut into units: fixed when the set is created, in no id.
struct UnitLayout {
  uint32_t num_shards = 1;      // of the key space
  uint32_t seeds_per_unit = 1;  // aligned ranges of view seeds

  bool operator==(const UnitLayout&) const = default;
};

// Everything that sets/<set id>/spec.json says. Format version 1.
struct SetDescription {
  FeatureSpec feature;
  SetSpec set;
  UnitLayout layout;

  // InvalidArgument: levels out of range or not ascending, feature id of another spec, bad mask, bad layout.
  absl::Status Validate() const;
  std::string Serialize() const;  // canonical text
  // FailedPrecondition: another format version (both told). InvalidArgument: the text is not a description.
  static absl::StatusOr<SetDescription> Parse(absl::string_view text);
};

// InvalidArgument: masks drawn from the attention of a teacher that computes no importance (they would be random ones
// under another name).
absl::Status CheckMaskSource(const SetDescription& description, const MaskSpec& mask);

// The last `count` levels of a teacher, e.g. 5 of 12 -> 8..12; all when count >= num_levels.
std::vector<uint32_t> LastLevels(uint32_t num_levels, uint32_t count);

}  // namespace afterimage
