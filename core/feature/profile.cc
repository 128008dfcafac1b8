#include "core/feature/profile.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

constexpr char kMagic[] = "AFTIPROF";
constexpr uint32_t kFormatVersion = 1;
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

// Level number, then a mean and a sigma for each channel.
uint64_t LevelBytes(uint32_t width) { return sizeof(uint32_t) + uint64_t{2} * sizeof(float) * width; }

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
  }
  return absl::OkStatus();
}

void AppendFloats(const std::vector<float>& values, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

// All but the digest.
std::string Body(const ProfileContent& content) {
  std::string bytes(kMagic, kVersionAt);
  bytes.reserve(kHeaderBytes + content.levels.size() * LevelBytes(content.width) + kDigestBytes);
  AppendLittleEndian<uint32_t>(kFormatVersion, bytes);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(content.levels.size()), bytes);
  AppendLittleEndian<uint32_t>(content.width, bytes);
  AppendLittleEndian<uint32_t>(0, bytes);
  bytes.append(content.feature_id.bytes.begin(), content.feature_id.bytes.end());
  AppendLittleEndian<uint64_t>(content.num_records, bytes);
  AppendLittleEndian<uint64_t>(content.num_rows, bytes);
  for (const LevelProfile& level : content.levels) {
    AppendLittleEndian<uint32_t>(level.level, bytes);
    AppendFloats(level.mean, bytes);
    AppendFloats(level.sigma, bytes);
  }
  return bytes;
}

// Magic, version and lengths: what is allocated afterwards is no larger than the bytes are.
absl::Status CheckHead(ByteSpan bytes) {
  if (bytes.size() < kHeaderBytes + kDigestBytes) return Damaged(bytes.size(), " bytes are too few");
  if (std::memcmp(bytes.data(), kMagic, kVersionAt) != 0) return Damaged("wrong magic");
  const uint32_t version = LoadLittleEndian<uint32_t>(bytes.data() + kVersionAt);
  if (version != kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("profile: format version ", version, ", this program reads version ", kFormatVersion));
  }
  const uint32_t num_levels = LoadLittleEndian<uint32_t>(bytes.data() + kNumLevelsAt);
  const uint32_t width = LoadLittleEndian<uint32_t>(bytes.data() + kWidthAt);
  if (num_levels > kMaxLevels || width > kMaxWidth ||
      bytes.size() != kHeaderBytes + num_levels * LevelBytes(width) + kDigestBytes) {
    return Damaged(bytes.size(), " bytes do not hold exactly ", num_levels, " levels of width ", width);
  }
  if (LoadLittleEndian<uint32_t>(bytes.data() + kReservedAt) != 0)
    return Damaged("a reserved field is not zero");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FeatureProfile> FeatureProfile::Create(ProfileContent content) {
  if (absl::Status status = CheckContent(content); !status.ok()) return status;
  FeatureProfile profile;
  profile.digest_ = Sha256(AsBytes(Body(content)));
  for (const LevelProfile& level : content.levels) {
    LevelCodes& codes = profile.codes_.emplace_back();
    codes.i8x = I8xChannels(level.mean, level.sigma);
    codes.packed = PackedChannels(level.mean, level.sigma);
    codes.ezq = EzqChannels(level.mean, level.sigma);
  }
  profile.content_ = std::move(content);
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
  return bytes;
}

absl::StatusOr<FeatureProfile> FeatureProfile::Parse(ByteSpan bytes) {
  if (absl::Status status = CheckHead(bytes); !status.ok()) return status;
  const ByteSpan body = bytes.first(bytes.size() - kDigestBytes);
  Digest256 written;
  std::ranges::copy(bytes.last(kDigestBytes), written.bytes.begin());
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
    at += sizeof(uint32_t);
    for (std::vector<float>* const values : {&level.mean, &level.sigma}) {
      values->resize(content.width);
      std::memcpy(values->data(), at, content.width * sizeof(float));
      at += content.width * sizeof(float);
    }
  }
  absl::StatusOr<FeatureProfile> profile = Create(std::move(content));
  if (!profile.ok()) return absl::DataLossError(profile.status().message());
  return profile;
}

}  // namespace afterimage
