#include "core/feature/profile.h"

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

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
    content.levels.push_back({level, {-0.5f, 0.25f * static_cast<float>(level), 2.0f}, {1.0f, 0.0f, 0.375f}});
  }
  return content;
}

std::string GoldenBytes() { return HexDecode(golden::kProfileBytes).value(); }

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
      {With<uint32_t>(72, 0), "not ascending from 1: 0"},
      {With<uint32_t>(72, 4), "not ascending from 1: 4"},
      {With<float>(76, std::numeric_limits<float>::quiet_NaN()), "level 3, channel 0: mean nan"},
      {With<float>(76, 235.0f), "level 3, channel 0: mean 235"},
      {With<float>(88, -1.0f), "level 3, channel 0: mean -0.5, sigma -1"},
      {With<float>(92, std::numeric_limits<float>::infinity()), "level 3, channel 1"},
  };
  for (const auto& lie : lies) {
    EXPECT_THAT(FeatureProfile::Parse(AsBytes(lie.bytes)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(lie.message)));
  }
  EXPECT_THAT(FeatureProfile::Parse(AsBytes(With<uint32_t>(8, 7))),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("format version 7, this program reads version 1")));
}

TEST(FeatureProfileTest, CreateRefusesWhatIsNotConsistent) {
  const std::pair<std::function<void(ProfileContent&)>, const char*> bad[] = {
      {[](ProfileContent& c) { c.levels.clear(); }, "0 levels"},
      {[](ProfileContent& c) { c.width = 0; }, "a width of 0"},
      {[](ProfileContent& c) { c.width = 2; }, "3 means and 3 sigmas for 2 channels"},
      {[](ProfileContent& c) { c.levels[1].sigma.pop_back(); }, "3 means and 2 sigmas"},
      {[](ProfileContent& c) { c.levels[1].level = 3; }, "not ascending"},
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
