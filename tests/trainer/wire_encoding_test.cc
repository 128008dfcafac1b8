// A run whose features travel in another encoding than they are stored in.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/pretrain_fixture.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;
using WireEncodingTest = testing::PretrainTest;

TEST_F(WireEncodingTest, IsPartOfWhatARunGoesOnWith) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  ASSERT_THAT(Pretrain(Cached("stored")).status(), IsOk());
  PretrainOptions options = Cached("whole");
  options.input.wire_encoding = Selection::Encoding::kBf16;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_NE(Losses("whole"), Losses("stored"));

  options.out = Path("parts");
  options.steps = 5;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  options.steps = 0;
  PretrainOptions other = options;
  other.input.wire_encoding = Selection::Encoding::kStored;
  EXPECT_THAT(Pretrain(other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"wire_encoding\"")));
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_EQ(Losses("parts"), Losses("whole"));
}

TEST_F(WireEncodingTest, OneThatNeedsAProfileIsRefusedWhereTheSetNamesNone) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  PretrainOptions options = Cached("run");
  options.input.wire_encoding = Selection::Encoding::kI8x;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("recode --profile")));
}

}  // namespace
}  // namespace afterimage::trainer
