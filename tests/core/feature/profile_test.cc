#include "core/feature/profile.h"

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

ProfileContent GoldenContent() {
  ProfileContent content;
  for (size_t i = 0; i < 32; ++i) content.feature_id.bytes[i] = static_cast<uint8_t>(i);
  content.width = 3;
  content.num_records = 3;
  content.num_rows = 15;
  for (const uint32_t level : {3u, 4u}) {
    content.levels.push_back({.level = level,
                              .mean = {-0.5f, 0.25f * static_cast<float>(level), 2.0f},
                              .sigma = {1.0f, 0.0f, 0.375f},
                              .i8x_clip = 1.5f + static_cast<float>(level)});
  }
  content.levels[0].wide = {0, 2};
  content.levels[1].wide = {1};
  return content;
}

std::string GoldenBytes() { return HexDecode(golden::kProfileBytes).value(); }

// Where the second level begins: behind the header, and the first one with its two wide channels.
constexpr size_t kLevel3At = 72, kLevel4At = kLevel3At + 12 + 24 + 4;

// Makes the digest of changed bytes right again.
std::string Resealed(std::string bytes) {
  const Digest256 digest = Sha256(AsBytes(bytes).first(bytes.size() - 32));
  std::copy(digest.bytes.begin(), digest.bytes.end(), bytes.end() - 32);
  return bytes;
}

template <typename T>
std::string With(size_t at, T value) {
  std::string bytes = GoldenBytes();
  std::memcpy(bytes.data() + at, &value, sizeof(value));
  return Resealed(bytes);
}

TEST(FeatureProfileTest, BytesAndDigestAreFrozen) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile profile, FeatureProfile::Create(GoldenContent()));
  EXPECT_EQ(profile.digest().Hex(), golden::kProfileDigest);
  EXPECT_EQ(HexEncode(AsBytes(profile.Serialize())), golden::kProfileBytes);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile read, FeatureProfile::Parse(AsBytes(GoldenBytes())));
  EXPECT_EQ(read.content(), GoldenContent());
  EXPECT_EQ(read.digest(), profile.digest());
  EXPECT_EQ(read.FindLevel(4)->mean[1], 1.0f);
  EXPECT_EQ(read.FindLevel(4)->i8x_clip, 5.5f);
  EXPECT_EQ(read.FindCodes(4)->i8x.step[0], 5.5f / 127.0f);
  EXPECT_EQ(read.FindCodes(3)->packed.wide(), (std::vector<uint16_t>{0, 2}));
  EXPECT_TRUE(read.figures().empty());
  EXPECT_EQ(read.FindLevel(2), nullptr);
  EXPECT_EQ(read.FindLevel(5), nullptr);
}

TEST(FeatureProfileTest, EveryTruncationIsFound) {
  const std::string good = GoldenBytes();
  for (size_t size = 0; size < good.size(); ++size) {
    const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THAT(FeatureProfile::Parse(cut), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
  EXPECT_THAT(FeatureProfile::Parse(AsBytes(good + '\0')), StatusIs(absl::StatusCode::kDataLoss));
}

ProfileFigures GoldenFigures() {
  return {.num_records = 32,
          .rows = {{Codec::kI8x, 3, 1.0039, 0.0058, 0.086, 0.9999},
                   {Codec::kI8x, 4, 1.0, 0.0098, 0.05, 0.99995},
                   {ParseCodec("ezq:66").value(), 4, 0.557, 0.0195, 0.25, -0.5}}};
}

TEST(FeatureProfileTest, FiguresStandBehindTheDigestAndChangeNothing) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile plain, FeatureProfile::Create(GoldenContent()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile profile, plain.WithFigures(GoldenFigures()));
  EXPECT_EQ(profile.digest(), plain.digest());
  const std::string bytes = profile.Serialize();
  EXPECT_EQ(HexEncode(AsBytes(bytes)), std::string(golden::kProfileBytes) + golden::kProfileFigures);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile read, FeatureProfile::Parse(AsBytes(bytes)));
  EXPECT_EQ(read.figures(), GoldenFigures());
  EXPECT_EQ(read.content(), GoldenContent());
  EXPECT_EQ(read.Serialize(), bytes);
  ProfileFigures of_other = GoldenFigures();
  of_other.rows[2].level = 5;
  EXPECT_THAT(plain.WithFigures(of_other),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("figures of level 5")));
}

TEST(FeatureProfileTest, DamagedFiguresAreFound) {
  const std::string body = GoldenBytes();
  const std::string good = body + HexDecode(golden::kProfileFigures).value();
  for (size_t size = body.size() + 1; size < good.size(); ++size) {
    const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THAT(FeatureProfile::Parse(cut), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("figures")));
  }
  for (size_t bit = body.size() * 8; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EXPECT_THAT(FeatureProfile::Parse(AsBytes(bad)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("figures")))
        << "byte " << bit / 8;
  }
}

TEST(FeatureProfileTest, EveryFlippedBitIsFound) {
  const std::string good = GoldenBytes();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const bool version = bit / 8 >= 8 && bit / 8 < 12;
    EXPECT_THAT(FeatureProfile::Parse(AsBytes(bad)),
                StatusIs(version ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss))
        << "byte " << bit / 8 << ", bit " << bit % 8;
  }
}

TEST(FeatureProfileTest, LiesWithARightDigestAreRefused) {
  EXPECT_EQ(With<uint32_t>(16, 3), GoldenBytes());  // the forger changes nothing else
  const struct {
    std::string bytes;
    const char* message;
  } lies[] = {
      {With<uint32_t>(12, 0xffffffff), "4294967295 levels"},
      {With<uint32_t>(16, 0xffffffff), "of width 4294967295"},
      {With<uint32_t>(20, 1), "reserved"},
      {With<uint64_t>(56, 0), "15 rows of 0 records"},
      {With<uint64_t>(64, 2), "2 rows of 3 records"},
      {With<uint32_t>(kLevel3At, 0), "not ascending from 1: 0"},
      {With<uint32_t>(kLevel3At, 4), "not ascending from 1: 4"},
      {With<float>(kLevel3At + 4, 0.0f), "level 3: a clip of 0"},
      {With<float>(kLevel4At + 4, 16.5f), "level 4: a clip of 16.5"},
      {With<float>(kLevel4At + 4, std::numeric_limits<float>::quiet_NaN()), "level 4: a clip of nan"},
      {With<uint32_t>(kLevel3At + 8, 4), "4 wide channels of 3"},
      {With<uint32_t>(kLevel4At + 8, 0xffffffff), "4294967295 wide channels of 3"},
      {With<uint32_t>(kLevel4At + 8, 3), "do not hold 2 levels"},
      {With<float>(kLevel3At + 12, std::numeric_limits<float>::quiet_NaN()), "level 3, channel 0: mean nan"},
      {With<float>(kLevel3At + 12, 235.0f), "level 3, channel 0: mean 235"},
      {With<float>(kLevel3At + 24, -1.0f), "level 3, channel 0: mean -0.5, sigma -1"},
      {With<float>(kLevel3At + 28, std::numeric_limits<float>::infinity()), "level 3, channel 1"},
      {With<uint16_t>(kLevel3At + 36, 2), "level 3: wide channels are not ascending below 3: 2"},
      {With<uint16_t>(kLevel3At + 38, 0), "level 3: wide channels are not ascending below 3: 0"},
      {With<uint16_t>(kLevel3At + 38, 3), "level 3: wide channels are not ascending below 3: 3"},
      {With<uint16_t>(kLevel4At + 36, 0xffff), "level 4: wide channels are not ascending below 3: 65535"},
  };
  for (const auto& lie : lies) {
    EXPECT_THAT(FeatureProfile::Parse(AsBytes(lie.bytes)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(lie.message)));
  }
}

// Version 1 had neither clips nor lists, and another length.
TEST(FeatureProfileTest, AnotherVersionIsToldWithOurs) {
  for (const uint32_t version : {1u, 7u}) {
    std::string bytes = With<uint32_t>(8, version);
    bytes.resize(72);
    EXPECT_THAT(
        FeatureProfile::Parse(AsBytes(bytes)),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 HasSubstr(absl::StrCat("format version ", version, ", this program reads version 2"))));
  }
}

TEST(FeatureProfileTest, CreateRefusesWhatIsNotConsistent) {
  const std::pair<std::function<void(ProfileContent&)>, const char*> bad[] = {
      {[](ProfileContent& c) { c.levels.clear(); }, "0 levels"},
      {[](ProfileContent& c) { c.width = 0; }, "a width of 0"},
      {[](ProfileContent& c) { c.width = 2; }, "3 means and 3 sigmas for 2 channels"},
      {[](ProfileContent& c) { c.levels[1].sigma.pop_back(); }, "3 means and 2 sigmas"},
      {[](ProfileContent& c) { c.levels[1].level = 3; }, "not ascending"},
      {[](ProfileContent& c) {
         c.levels[1].wide = {2, 1};
       },
       "wide channels are not ascending"},
      {[](ProfileContent& c) { c.levels[1].wide = {3}; }, "not ascending below 3: 3"},
      {[](ProfileContent& c) { c.levels[0].i8x_clip = 0.5f; }, "a clip of 0.5"},
  };
  for (const auto& [spoil, message] : bad) {
    ProfileContent content = GoldenContent();
    spoil(content);
    EXPECT_THAT(FeatureProfile::Create(content),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

}  // namespace
}  // namespace afterimage
