// Parts of feature blocks in an encoding that a reader asks for.
#include <cmath>
#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "tests/core/feature/coded_record.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using testing::Bound;
using ::testing::HasSubstr;
using testing::kWidth;
using testing::profile;
using testing::Record;

constexpr Selection::Encoding kWithProfile[] = {Selection::Encoding::kI8x, Selection::Encoding::kI6x,
                                                Selection::Encoding::kI5x, Selection::Encoding::kI4x};

// What travels is what the other codec would have stored of what is stored; the bounds of both add up.
TEST(FeatureBlockEncodingsTest, EveryCodecTravelsInAnEncodingWithAProfile) {
  const std::vector<float> exact = Record().levels[0].values;
  for (const Codec codec : testing::Codecs()) {
    const PinnedBytes stored =
        PinnedBytes::FromString(EncodeFeatureBlock(Record(), codec, &profile()).value());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(stored.bytes, &profile()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord decoded, block.ToRecord());
    for (const Selection::Encoding encoding : kWithProfile) {
      SCOPED_TRACE(CodecName(codec) + " as " + EncodingName(encoding));
      const Selection selection = {.pixels = false, .encoding = encoding};
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes cut, SelectFromBlock(block, stored, selection, {}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock part, FeatureBlock::Parse(cut.bytes, &profile()));
      EXPECT_EQ(part.codec(), CodecOf(encoding));
      EXPECT_EQ(part.profile_digest(), profile().digest());
      EXPECT_EQ(part.record_digest(), block.record_digest());
      AFTERIMAGE_ASSERT_OK(part.VerifyAll());
      std::vector<float> values(5 * kWidth);
      AFTERIMAGE_ASSERT_OK(part.ReadLevel(3, {}, values));
      for (size_t i = 0; i < values.size(); ++i)
        EXPECT_LE(std::abs(values[i] - exact[i]), Bound(codec) + Bound(part.codec())) << i;
      EXPECT_EQ(values[4 * kWidth + 5], 30.5f);  // an exception of both
      const std::string again = EncodeFeatureBlock(decoded, part.codec(), &profile()).value();
      const FeatureBlock expected = FeatureBlock::Parse(AsBytes(again), &profile()).value();
      EXPECT_EQ(values, expected.ToRecord()->levels[0].values);
      // The rows of a mask are the same ones.
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
          const PinnedBytes of_mask,
          SelectFromBlock(block, stored,
                          {.tokens = Selection::Tokens::kMask, .pixels = false, .encoding = encoding},
                          std::vector<uint16_t>{3, 1, 2, 0}));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock rows,
                                      FeatureBlock::Parse(of_mask.bytes, &profile()));
      std::vector<float> last(kWidth);
      AFTERIMAGE_ASSERT_OK(rows.ReadLevel(3, std::vector<uint16_t>{1}, last));
      EXPECT_TRUE(std::equal(last.begin(), last.end(), values.end() - kWidth));
    }
  }
}

TEST(FeatureBlockEncodingsTest, AnEncodingWithAProfileNeedsOne) {
  const PinnedBytes stored = PinnedBytes::FromString(EncodeFeatureBlock(Record(), Codec::kF16).value());
  const Selection selection = {.pixels = false, .encoding = Selection::Encoding::kI8x};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(stored.bytes));
  EXPECT_THAT(SelectFromBlock(block, stored, selection, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("i8x needs a profile")));
  ProfileContent content{.width = kWidth, .num_records = 1, .num_rows = 1};
  content.levels.push_back({4, std::vector<float>(kWidth, 0.0f), std::vector<float>(kWidth, 1.0f)});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureProfile other, FeatureProfile::Create(content));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock with_other, FeatureBlock::Parse(stored.bytes, &other));
  EXPECT_THAT(SelectFromBlock(with_other, stored, selection, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no level 3")));
  FeatureRecord far = Record();
  far.levels[0].values[7] = 300;
  const PinnedBytes beyond = PinnedBytes::FromString(EncodeFeatureBlock(far, Codec::kF16).value());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock of_far, FeatureBlock::Parse(beyond.bytes, &profile()));
  EXPECT_THAT(SelectFromBlock(of_far, beyond, selection, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("300 is beyond the range of i8x")));
}

TEST(FeatureBlockEncodingsTest, EncodingsHaveTheNamesOfTheirCodecs) {
  EXPECT_EQ(EncodingNames().size(), 8u);
  for (const std::string& name : EncodingNames()) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Selection::Encoding encoding, ParseEncoding(name));
    EXPECT_EQ(EncodingName(encoding), name);
  }
  EXPECT_THAT(ParseEncoding("ezq4"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stored, f32, f16, bf16, i8x")));
}

}  // namespace
}  // namespace afterimage
