#include "core/base/byte_size.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ByteSizeTest, DecimalAndBinaryUnits) {
  EXPECT_THAT(ParseByteSize("1500"), IsOkAndHolds(1500u));
  EXPECT_THAT(ParseByteSize("1.5TB"), IsOkAndHolds(1'500'000'000'000u));
  EXPECT_THAT(ParseByteSize("64GiB"), IsOkAndHolds(uint64_t{64} << 30));
  EXPECT_THAT(ParseByteSize("20 mb"), IsOkAndHolds(20'000'000u));
  EXPECT_THAT(ParseByteSize("18446PB"), IsOkAndHolds(uint64_t{18'446'000'000'000'000'000u}));
}

TEST(ByteSizeTest, WhatIsNoneIsRefused) {
  EXPECT_THAT(ParseByteSize("many"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("20MB")));
  for (const char* text : {"", "MB", "5 parsecs", "-1", "1.2.3", "nan", "1e3"})
    EXPECT_THAT(ParseByteSize(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a size")));
  EXPECT_THAT(ParseByteSize("18447PB"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16 EiB")));
}

}  // namespace
}  // namespace afterimage
