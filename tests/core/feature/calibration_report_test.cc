#include "core/feature/calibration_report.h"

#include <cmath>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ParseCodecLimitsTest, NumbersAndSizesAreTakenAndWhatIsNoneIsRefusedWithItsFlag) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CodecLimits none, ParseCodecLimits(std::nullopt, ""));
  EXPECT_FALSE(none.max_rmse.has_value() || none.max_bytes.has_value());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CodecLimits both, ParseCodecLimits(0.02, "1.5MB"));
  EXPECT_EQ(both.max_rmse, 0.02);
  EXPECT_EQ(both.max_bytes, 1.5e6);
  for (const double rmse : {std::nan(""), HUGE_VAL, -0.02}) {
    EXPECT_THAT(ParseCodecLimits(rmse, ""),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--max-rmse")));
  }
  EXPECT_THAT(ParseCodecLimits(std::nullopt, "many"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--max-bytes: "), HasSubstr("not a size"))));
}

}  // namespace
}  // namespace afterimage
