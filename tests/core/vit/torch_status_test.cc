#include "core/vit/torch_status.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RunTorchTest, PassesResultsThrough) {
  EXPECT_THAT(RunTorch([] {}), IsOk());
  EXPECT_THAT(RunTorch([] { return 3; }), IsOkAndHolds(3));
  EXPECT_THAT(RunTorch([] { return absl::NotFoundError("x"); }), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(RunTorch([]() -> absl::StatusOr<int> { return 4; }), IsOkAndHolds(4));
}

TEST(RunTorchTest, LibTorchErrorsKeepTheirTextWithoutTheStackTrace) {
  EXPECT_THAT(RunTorch([] {
                return at::matmul(at::zeros({2, 3}), at::zeros({2, 3}));
              }),
              StatusIs(absl::StatusCode::kInternal, AllOf(HasSubstr("2x3"), Not(HasSubstr("frame #")))));
}

TEST(RunTorchTest, RunningOutOfMemoryIsResourceExhausted) {
  EXPECT_THAT(RunTorch([] { return at::empty({int64_t{1} << 60}, at::kByte); }),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(RunTorch([] { throw std::bad_alloc(); }), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(RunTorchTest, OtherExceptionsAreInternal) {
  EXPECT_THAT(RunTorch([] { throw std::runtime_error("odd"); }),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("odd")));
}

}  // namespace
}  // namespace afterimage
