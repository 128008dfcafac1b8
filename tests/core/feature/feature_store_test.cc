// feature_store.h: what every implementation does with a stored value.
#include "core/feature/feature_store.h"

#include <string>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::MakeSyntheticBlock;
using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::SyntheticImageKey;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ResultFromStoredTest : public ::testing::Test {
 protected:
  RecordResult ResultOf(std::string value, const Selection& selection = {},
                        const MaskChoice& mask = {}) const {
    return ResultFromStored(description_, key_, PinnedBytes::FromString(std::move(value)), /*found=*/true,
                            selection, mask);
  }

  const SetDescription description_ = MakeSyntheticDescription();
  const RecordKey key_ = {SyntheticImageKey(0), 3};
};

TEST_F(ResultFromStoredTest, NothingFoundIsMissing) {
  EXPECT_EQ(ResultFromStored(description_, key_, {}, /*found=*/false, {}, {}).state, RecordState::kMissing);
}

TEST_F(ResultFromStoredTest, ABlockIsOkAndPinned) {
  const PinnedBytes value = PinnedBytes::FromString(MakeSyntheticBlock(description_, key_));
  const RecordResult result = ResultFromStored(description_, key_, value, /*found=*/true, {}, {});
  EXPECT_EQ(result.state, RecordState::kOk);
  EXPECT_EQ(result.block.bytes.data(), value.bytes.data());
  EXPECT_EQ(result.block.owner, value.owner);
}

TEST_F(ResultFromStoredTest, OtherBytesAreDamagedAndTheReasonNamesTheKey) {
  std::string version = MakeSyntheticBlock(description_, key_);
  version[8] = static_cast<char>(kFeatureBlockVersion + 1);
  std::string content = MakeSyntheticBlock(description_, key_);
  content.back() ^= 1;
  const std::pair<std::string, const char*> cases[] = {
      {"", "0 bytes"},
      {version, "version 6, this program reads versions 1 to 5"},
      {content, "checksum"},
      {EncodeFailedBlock("x").substr(0, 150), "bytes"}};
  for (const auto& [value, why] : cases) {
    const RecordResult result = ResultOf(value);
    EXPECT_EQ(result.state, RecordState::kDamaged);
    EXPECT_THAT(result.reason, AllOf(HasSubstr(key_.ToString()), HasSubstr(why)));
    EXPECT_TRUE(result.block.bytes.empty());
  }
}

TEST_F(ResultFromStoredTest, DamageOutsideTheSelectionIsNotSeen) {
  std::string pixels = MakeSyntheticBlock(description_, key_);
  pixels.back() ^= 1;  // pixels are the last section
  EXPECT_EQ(ResultOf(pixels, {.pixels = false}).state, RecordState::kOk);
  EXPECT_EQ(ResultOf(pixels, {.no_levels = true}).state, RecordState::kDamaged);
}

TEST_F(ResultFromStoredTest, AFailureIsFailedWithItsReason) {
  const RecordResult result = ResultOf(EncodeFailedBlock("not a JPEG"));
  EXPECT_EQ(result.state, RecordState::kFailed);
  EXPECT_THAT(result.reason, AllOf(HasSubstr(key_.ToString()), HasSubstr("not a JPEG")));
}

TEST(FeatureStoreTest, StatesHaveNames) {
  EXPECT_STREQ(RecordStateName(RecordState::kOk), "OK");
  EXPECT_STREQ(RecordStateName(RecordState::kMissing), "MISSING");
  EXPECT_STREQ(RecordStateName(RecordState::kDamaged), "DAMAGED");
  EXPECT_STREQ(RecordStateName(RecordState::kFailed), "FAILED");
}

TEST(FeatureStoreTest, ASelectionThatContradictsItselfIsRefused) {
  const SetDescription description = MakeSyntheticDescription();
  EXPECT_THAT(ValidateSelection(description, {.levels = {3}}), IsOk());
  EXPECT_THAT(ValidateSelection(description, {.levels = {3}, .no_levels = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no_levels")));
}

}  // namespace
}  // namespace afterimage
