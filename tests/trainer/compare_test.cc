#include "trainer/forward/compare.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CompareTensorsTest, ToleranceComesFromTheJsonTheDtypeOrTheCaller) {
  const TemporaryFolder folder;
  const std::string path = (folder / "reference.safetensors").string();
  const at::Tensor ours = at::tensor({1.0, 2.0, 4.0}, at::kDouble);
  ASSERT_THAT(SaveTensors(path, {{"output.a", ours + 3e-5}, {"output.b", ours}, {"weight", ours}}), IsOk());
  const ParameterMap tensors = {{"output.a", ours}, {"output.c", ours}};
  const auto tolerance = [&](const CompareOptions& options) {
    auto comparison = CompareTensors(tensors, path, options);
    EXPECT_THAT(comparison.status(), IsOk());
    EXPECT_EQ(comparison->tensors.size(), 1u);
    EXPECT_THAT(comparison->not_computed, ElementsAre("output.b"));
    EXPECT_NEAR(comparison->tensors[0].difference, 3e-5, 1e-12);
    EXPECT_EQ(comparison->num_outside(),
              comparison->tensors[0].difference > comparison->tensors[0].tolerance ? 1 : 0);
    return comparison->tensors[0].tolerance;
  };
  const double largest = 4.0 + 3e-5;
  EXPECT_DOUBLE_EQ(tolerance({}), kSingleTolerance * largest);
  EXPECT_DOUBLE_EQ(tolerance({.in_double = true}), kSharpTolerance * largest);
  EXPECT_DOUBLE_EQ(tolerance({.rtol = 0.5}), 0.5 * largest);
  ASSERT_THAT(WriteFileAtomically((folder / "reference.json").string(),
                                  R"({"tensors": {"output.a": {"atol": 2e-5}}})"),
              IsOk());
  EXPECT_DOUBLE_EQ(tolerance({}), 2e-5);
  EXPECT_DOUBLE_EQ(tolerance({.in_double = true}), kSharpTolerance * largest);
  ASSERT_THAT(WriteFileAtomically((folder / "reference.json").string(), "{"), IsOk());
  EXPECT_THAT(CompareTensors(tensors, path, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reference.json")));
}

TEST(CompareTensorsTest, RowsAreInTheOrderOfTheirNumbers) {
  const TemporaryFolder folder;
  const std::string path = (folder / "reference.safetensors").string();
  ParameterMap tensors;
  for (const char* name : {"grad.blocks.10.a", "grad.blocks.2.b", "grad.blocks.2.a", "output.hidden.1",
                           "output.hidden.10", "output.hidden.12", "output.hidden.2", "output.hidden"}) {
    tensors[name] = at::ones({1});
  }
  ASSERT_THAT(SaveTensors(path, tensors), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Comparison comparison, CompareTensors(tensors, path, {}));
  std::vector<std::string> names;
  for (const ComparedTensor& row : comparison.tensors) names.push_back(row.name);
  EXPECT_THAT(names,
              ElementsAre("grad.blocks.2.a", "grad.blocks.2.b", "grad.blocks.10.a", "output.hidden",
                          "output.hidden.1", "output.hidden.2", "output.hidden.10", "output.hidden.12"));
}

TEST(CompareTensorsTest, OtherShapesNoNumbersAndOtherIntegersAreOutside) {
  const TemporaryFolder folder;
  const std::string path = (folder / "reference.safetensors").string();
  ASSERT_THAT(SaveTensors(path, {{"output.a", at::zeros({2, 3})},
                                 {"output.b", at::ones({2})},
                                 {"output.c", at::ones({2}, at::kLong)},
                                 {"grad.d", at::ones({2})}}),
              IsOk());
  const ParameterMap tensors = {{"output.a", at::zeros({3, 2})},
                                {"output.b", at::full({2}, std::nan(""))},
                                {"output.c", at::full({2}, 2, at::kLong)},
                                {"grad.d", at::ones({2})}};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Comparison comparison, CompareTensors(tensors, path, {.rtol = 10}));
  EXPECT_EQ(comparison.num_outside(), 3);
  EXPECT_TRUE(comparison.tensors[0].within());
  EXPECT_THAT(comparison.Text(),
              AllOf(HasSubstr("OUTSIDE: shape [3, 2], not [2, 3]"), HasSubstr("output.b"), HasSubstr("inf")));
  EXPECT_THAT(CompareTensors({{"output.z", at::ones({1})}}, path, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path), HasSubstr("output.z"))));
  EXPECT_THAT(CompareTensors(tensors, "/nowhere.safetensors", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere.safetensors")));
}

}  // namespace
}  // namespace afterimage::trainer
