#include <memory>

#include "absl/strings/cord.h"
#include "core/base/status_macros.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pointee;

TEST(WithContextTest, PrependsTheContextAndKeepsCodeAndPayload) {
  absl::Status inner = absl::DataLossError("bad magic");
  inner.SetPayload("afterimage.test", absl::Cord("payload"));
  const absl::Status outer = WithContext(inner, "open store at /x");
  EXPECT_EQ(outer.ToString().find("DATA_LOSS: open store at /x: bad magic"), 0u) << outer;
  EXPECT_EQ(outer.GetPayload("afterimage.test"), absl::Cord("payload"));
}

TEST(WithContextTest, LeavesOkAlone) { EXPECT_EQ(WithContext(absl::OkStatus(), "open"), absl::OkStatus()); }

TEST(StatusMacrosTest, ReturnIfErrorReturnsTheFirstError) {
  int calls = 0;
  const auto function = [&](absl::Status status) -> absl::Status {
    AFTERIMAGE_RETURN_IF_ERROR(status);
    ++calls;
    return absl::OkStatus();
  };
  EXPECT_THAT(function(absl::NotFoundError("none")), StatusIs(absl::StatusCode::kNotFound, "none"));
  EXPECT_EQ(calls, 0);
  EXPECT_THAT(function(absl::OkStatus()), IsOk());
  EXPECT_EQ(calls, 1);
}

TEST(StatusMacrosTest, AssignOrReturnMovesTheValueOut) {
  const auto function =
      [](absl::StatusOr<std::unique_ptr<int>> value) -> absl::StatusOr<std::unique_ptr<int>> {
    AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<int> first, std::move(value));
    AFTERIMAGE_ASSIGN_OR_RETURN(first,
                                absl::StatusOr<std::unique_ptr<int>>(std::make_unique<int>(*first + 1)));
    return first;
  };
  EXPECT_THAT(function(std::make_unique<int>(1)), IsOkAndHolds(Pointee(2)));
  EXPECT_THAT(function(absl::AbortedError("stop")), StatusIs(absl::StatusCode::kAborted, HasSubstr("st")));
}

TEST(StatusMatchersTest, TellStatusesApart) {
  EXPECT_THAT(absl::AbortedError("x"), Not(IsOk()));
  EXPECT_THAT(absl::StatusOr<int>(3), IsOk());
  EXPECT_THAT(absl::StatusOr<int>(3), Not(IsOkAndHolds(4)));
  EXPECT_THAT(absl::StatusOr<int>(absl::AbortedError("x")), Not(IsOkAndHolds(3)));
  EXPECT_THAT(absl::AbortedError("x"), Not(StatusIs(absl::StatusCode::kInternal, "x")));
  EXPECT_THAT(absl::AbortedError("x"), Not(StatusIs(absl::StatusCode::kAborted, "y")));
  EXPECT_THAT(absl::OkStatus(), Not(StatusIs(absl::StatusCode::kAborted)));
}

}  // namespace
}  // namespace afterimage
