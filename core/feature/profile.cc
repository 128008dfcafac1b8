#include "core/feature/profile.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

constexpr char kMagic[] = "AFTIPROF";
constexpr uint32_t kFormatVersion = 2;
constexpr uint32_t kMaxLevels = 4096;
constexpr uint32_t kMaxWidth = 1 << 16;

// Offsets (docs/profile_format.md).
constexpr size_t kVersionAt = 8;
constexpr size_t kNumLevelsAt = 12;
constexpr size_t kWidthAt = 16;
constexpr size_t kReservedAt = 20;
constexpr size_t kFeatureIdAt = 24;
constexpr size_t kNumRecordsAt = 56;
constexpr size_t kNumRowsAt = 64;
constexpr size_t kHeaderBytes = 72;
constexpr size_t kDigestBytes = 32;

// Of a level: its number, the clip, the number of wide channels, then a mean and a sigma for each channel and
// the wide ones.
constexpr size_t kClipAt = 4;
constexpr size_t kNumWideAt = 8;
constexpr size_t kLevelHeadBytes = 12;
uint64_t LevelBytes(uint32_t width, uint32_t num_wide) {
  return kLevelHeadBytes + uint64_t{2} * sizeof(float) * width + sizeof(uint16_t) * uint64_t{num_wide};
}

template <typename... Parts>
absl::Status Damaged(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("profile: ", parts...));
}

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("profile: ", parts...));
}

absl::Status CheckContent(const ProfileContent& content) {
  if (content.width == 0 || content.width > kMaxWidth) return Refused("a width of ", content.width);
  if (content.levels.empty() || content.levels.size() > kMaxLevels) {
    return Refused(content.levels.size(), " levels");
  }
  if (content.num_records == 0 || content.num_rows < content.num_records) {
    return Refused(content.num_rows, " rows of ", content.num_records, " records");
  }
  uint32_t before = 0;
  for (const LevelProfile& level : content.levels) {
    if (level.level <= before) return Refused("levels are not ascending from 1: ", level.level);
    before = level.level;
    if (level.mean.size() != content.width || level.sigma.size() != content.width) {
      return Refused("level ", level.level, " has ", level.mean.size(), " means and ", level.sigma.size(),
                     " sigmas for ", content.width, " channels");
    }
    for (uint32_t channel = 0; channel < content.width; ++channel) {
      const float mean = level.mean[channel];
      const float sigma = level.sigma[channel];
      if (!(std::abs(mean) <= kLargestMean) || !(sigma >= 0 && sigma <= kLargestFeature)) {
        return Refused("level ", level.level, ", channel ", channel, ": mean ", mean, ", sigma ", sigma);
      }
    }
    if (!(level.i8x_clip >= kSmallestI8xClip && level.i8x_clip <= kLargestI8xClip))
      return Refused("level ", level.level, ": a clip of ", level.i8x_clip);
    for (size_t i = 0; i < level.wide.size(); ++i) {
      if (level.wide[i] < content.width && (i == 0 || level.wide[i] > level.wide[i - 1])) continue;
      return Refused("level ", level.level, ": wide channels are not ascending below ", content.width, ": ",
                     level.wide[i]);
    }
  }
  return absl::OkStatus();
}

template <typename T>
void AppendAll(const std::vector<T>& values, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <typename T>
const uint8_t* LoadAll(const uint8_t* at, size_t count, std::vector<T>& values) {
  values.resize(count);
  if (count > 0) std::memcpy(values.data(), at, count * sizeof(T));
  return at + count * sizeof(T);
}

// All but the digest.
std::string Body(const ProfileContent& content) {
  std::string bytes(kMagic, kVersionAt);
  uint64_t size = kHeaderBytes + kDigestBytes;
  for (const LevelProfile& level : content.levels)
    size += LevelBytes(content.width, static_cast<uint32_t>(level.wide.size()));
  bytes.reserve(size);
  AppendLittleEndian<uint32_t>(kFormatVersion, bytes);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(content.levels.size()), bytes);
  AppendLittleEndian<uint32_t>(content.width, bytes);
  AppendLittleEndian<uint32_t>(0, bytes);
  bytes.append(content.feature_id.bytes.begin(), content.feature_id.bytes.end());
  AppendLittleEndian<uint64_t>(content.num_records, bytes);
  AppendLittleEndian<uint64_t>(content.num_rows, bytes);
  for (const LevelProfile& level : content.levels) {
    AppendLittleEndian<uint32_t>(level.level, bytes);
    AppendLittleEndian<float>(level.i8x_clip, bytes);
    AppendLittleEndian<uint32_t>(static_cast<uint32_t>(level.wide.size()), bytes);
    AppendAll(level.mean, bytes);
    AppendAll(level.sigma, bytes);
    AppendAll(level.wide, bytes);
  }
  return bytes;
}

// Magic, version and lengths: what is allocated afterwards is no larger than the bytes are. Returns the bytes
// of the body, behind which there is room for the digest.
absl::StatusOr<size_t> CheckHead(ByteSpan bytes) {
  if (bytes.size() < kVersionAt + sizeof(uint32_t)) return Damaged(bytes.size(), " bytes are too few");
  if (std::memcmp(bytes.data(), kMagic, kVersionAt) != 0) return Damaged("wrong magic");
  const uint32_t version = LoadLittleEndian<uint32_t>(bytes.data() + kVersionAt);
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("profile: format version ", version, ", this program reads version ", kFormatVersion,
                     "; calibrate again, and make its sets anew (afterimage recode, from f32 or f16)"));
  }
  if (bytes.size() < kHeaderBytes + kDigestBytes) return Damaged(bytes.size(), " bytes are too few");
  const uint32_t num_levels = LoadLittleEndian<uint32_t>(bytes.data() + kNumLevelsAt);
  const uint32_t width = LoadLittleEndian<uint32_t>(bytes.data() + kWidthAt);
  if (num_levels > kMaxLevels || width > kMaxWidth) return Damaged(num_levels, " levels of width ", width);
  if (LoadLittleEndian<uint32_t>(bytes.data() + kReservedAt) != 0)
    return Damaged("a reserved field is not zero");
  const size_t room = bytes.size() - kDigestBytes;
  size_t end = kHeaderBytes;
  for (uint32_t i = 0; i < num_levels; ++i) {
    const bool has_head = room - end >= kLevelHeadBytes;
    const uint32_t num_wide = has_head ? LoadLittleEndian<uint32_t>(bytes.data() + end + kNumWideAt) : 0;
    if (num_wide > width) return Damaged(num_wide, " wide channels of ", width);
    if (!has_head || room - end < LevelBytes(width, num_wide)) {
      return Damaged(bytes.size(), " bytes do not hold ", num_levels, " levels of width ", width);
    }
    end += LevelBytes(width, num_wide);
  }
  return end;
}

}  // namespace

absl::StatusOr<FeatureProfile> FeatureProfile::Create(ProfileContent content) {
  if (absl::Status status = CheckContent(content); !status.ok()) return status;
  FeatureProfile profile;
  profile.digest_ = Sha256(AsBytes(Body(content)));
  for (const LevelProfile& level : content.levels) {
    LevelCodes& codes = profile.codes_.emplace_back();
    codes.i8x = I8xChannels(level.mean, level.sigma, level.i8x_clip);
    codes.packed = PackedChannels(level.mean, level.sigma, level.wide);
    codes.ezq = EzqChannels(level.mean, level.sigma);
  }
  profile.content_ = std::move(content);
  return profile;
}

absl::StatusOr<FeatureProfile> FeatureProfile::WithFigures(ProfileFigures figures) const {
  if (absl::Status status = CheckFigures(figures); !status.ok()) return status;
  for (const CodecFigures& row : figures.rows) {
    if (FindLevel(row.level) == nullptr)
      return Refused("figures of level ", row.level, ", which it does not have");
  }
  FeatureProfile profile = *this;
  profile.figures_ = std::move(figures);
  return profile;
}

const LevelProfile* FeatureProfile::FindLevel(uint32_t level) const {
  const auto found = std::ranges::lower_bound(content_.levels, level, {}, &LevelProfile::level);
  return found != content_.levels.end() && found->level == level ? &*found : nullptr;
}

const LevelCodes* FeatureProfile::FindCodes(uint32_t level) const {
  const LevelProfile* const found = FindLevel(level);
  return found == nullptr ? nullptr : &codes_[static_cast<size_t>(found - content_.levels.data())];
}

std::string FeatureProfile::Serialize() const {
  std::string bytes = Body(content_);
  bytes.append(digest_.bytes.begin(), digest_.bytes.end());
  return bytes + SerializeFigures(figures_);
}

absl::StatusOr<FeatureProfile> FeatureProfile::Parse(ByteSpan bytes) {
  const absl::StatusOr<size_t> body_bytes = CheckHead(bytes);
  if (!body_bytes.ok()) return body_bytes.status();
  const ByteSpan body = bytes.first(*body_bytes);
  const ByteSpan behind = bytes.subspan(*body_bytes + kDigestBytes);
  Digest256 written;
  std::ranges::copy(bytes.subspan(*body_bytes, kDigestBytes), written.bytes.begin());
  if (const Digest256 digest = Sha256(body); digest != written) {
    return Damaged("the content has the digest ", digest.Hex(), ", the file says ", written.Hex());
  }

  ProfileContent content;
  std::ranges::copy(body.subspan(kFeatureIdAt, kDigestBytes), content.feature_id.bytes.begin());
  content.width = LoadLittleEndian<uint32_t>(body.data() + kWidthAt);
  content.num_records = LoadLittleEndian<uint64_t>(body.data() + kNumRecordsAt);
  content.num_rows = LoadLittleEndian<uint64_t>(body.data() + kNumRowsAt);
  content.levels.resize(LoadLittleEndian<uint32_t>(body.data() + kNumLevelsAt));
  const uint8_t* at = body.data() + kHeaderBytes;
  for (LevelProfile& level : content.levels) {
    level.level = LoadLittleEndian<uint32_t>(at);
    level.i8x_clip = LoadLittleEndian<float>(at + kClipAt);
    const uint32_t num_wide = LoadLittleEndian<uint32_t>(at + kNumWideAt);
    at = LoadAll(at + kLevelHeadBytes, content.width, level.mean);
    at = LoadAll(at, content.width, level.sigma);
    at = LoadAll(at, num_wide, level.wide);
  }
  absl::StatusOr<FeatureProfile> profile = Create(std::move(content));
  if (!profile.ok()) return absl::DataLossError(profile.status().message());
  if (behind.empty()) return profile;
  absl::StatusOr<ProfileFigures> figures = ParseFigures(behind);
  if (!figures.ok()) return figures.status();
  profile = profile->WithFigures(*std::move(figures));
  if (!profile.ok()) return absl::DataLossError(profile.status().message());
  return profile;
}

}  // namespace afterimage
