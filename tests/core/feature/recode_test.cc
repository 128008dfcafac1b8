#include "core/feature/recode.h"

#include "gmock/gmock.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::ExpectEqualRecords;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::MakeSyntheticRecord;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::AllOf;
using ::testing::HasSubstr;

const RecordKey kKey = {SyntheticImageKey(3), 1};
constexpr MaskSpec kMask = {.num_visible = 5, .mask_seed = 4, .num_masks = 2};

// The made-up teacher sees the same whatever is stored of it.
SetDescription Described(std::vector<uint32_t> levels, TokenPolicy policy, bool pixels) {
  return MakeSyntheticDescription({.levels = std::move(levels),
                                   .token_policy = policy,
                                   .mask = kMask,
                                   .pixels = pixels,
                                   .codec = Codec::kF32});
}

TEST(RecodeTest, GivesWhatTheTargetWouldHaveStored) {
  const SetDescription source = Described({3, 4}, TokenPolicy::kAll, true);
  const FeatureRecord all = MakeSyntheticRecord(source, kKey);
  const SetDescription visible = Described({3, 4}, TokenPolicy::kVisible, true);
  EXPECT_THAT(CheckRecoding(source.set, visible.set), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord of_visible, RecodeRecord(visible.set, kKey, all));
  ExpectEqualRecords(of_visible, MakeSyntheticRecord(visible, kKey));

  SetDescription fewer = Described({4}, TokenPolicy::kVisible, false);
  EXPECT_THAT(CheckRecoding(visible.set, fewer.set), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureRecord of_fewer, RecodeRecord(fewer.set, kKey, of_visible));
  EXPECT_EQ(of_fewer.masks, of_visible.masks);
  EXPECT_TRUE(of_fewer.pixels.empty());
  ASSERT_EQ(of_fewer.levels.size(), 1u);
  EXPECT_EQ(of_fewer.levels[0].values, of_visible.levels[1].values);
}

TEST(RecodeTest, RefusesWhatTheSourceDoesNotStore) {
  const SetSpec all = Described({3, 4}, TokenPolicy::kAll, true).set;
  const SetSpec visible = Described({3}, TokenPolicy::kVisible, false).set;
  SetSpec other = all;
  other.feature_id = Sha256({});
  EXPECT_THAT(CheckRecoding(all, other),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(all.feature_id.Hex()), HasSubstr(other.feature_id.Hex()))));
  SetSpec levels = visible;
  levels.levels = {2, 3};
  EXPECT_THAT(CheckRecoding(all, levels), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                   AllOf(HasSubstr("levels 2,3"), HasSubstr("stores 3,4"))));
  SetSpec pixels = visible;
  pixels.pixels = true;
  EXPECT_THAT(CheckRecoding(visible, pixels),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("pixels")));
  SetSpec tokens = visible;
  tokens.token_policy = TokenPolicy::kAll;
  EXPECT_THAT(CheckRecoding(visible, tokens),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("all tokens")));
  SetSpec masks = visible;
  masks.mask.mask_seed = 5;
  EXPECT_THAT(CheckRecoding(visible, masks),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("own masks")));
}

}  // namespace
}  // namespace afterimage
