// How far a teacher's features move with what no spec names: precision, micro-batch, threads. The bounds are
// those of docs/method.md.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"

namespace afterimage {
namespace {

using ::afterimage::testing::LargestDifference;

// Of the largest value of a level, of its normalised form and of the importance.
constexpr double kBound = 1e-5;

void ExpectWithinBound(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  EXPECT_LE(LargestDifference(a, b), kBound * b.abs().max().item<double>()) << what;
}

void ExpectWithinBound(const VitOutput& a, const VitOutput& b) {
  ExpectWithinBound(a.importance, b.importance, "importance");
  for (size_t i = 0; i < a.hidden.size(); ++i) {
    ExpectWithinBound(a.hidden[i], b.hidden[i], absl::StrCat("hidden.", i));
    ExpectWithinBound(LayerNormNoAffine(a.hidden[i], kNormalizationEps),
                      LayerNormNoAffine(b.hidden[i], kNormalizationEps), absl::StrCat("target.", i));
  }
}

// A ViT-Ti/16 over views of 224 pixels, twelve blocks deep.
class TeacherPrecisionTest : public ::testing::Test {
 protected:
  TeacherPrecisionTest() {
    at::manual_seed(21);
    for (const auto& [name, shape] : VitParameterShapes(config_)) {
      parameters_[name] = name.ends_with("norm1.weight") || name.ends_with("norm2.weight")
                              ? at::rand(shape) + 0.5
                              : at::randn(shape) * 0.06;
    }
    rows_ = at::randn({4, config_.num_patches(), 3 * 16 * 16});
  }

  VitOutput Forward(at::ScalarType type, const at::Tensor& rows) const {
    ParameterMap parameters;
    for (const auto& [name, tensor] : parameters_) parameters[name] = tensor.to(type);
    return VitForward(config_, parameters, rows.to(type), {.with_importance = true});
  }

  const VitConfig config_{.width = 192, .heads = 3, .mlp_width = 768};
  ParameterMap parameters_;
  at::Tensor rows_;
};

TEST_F(TeacherPrecisionTest, Float32IsWithinTheBoundOfFloat64) {
  const VitOutput single = Forward(at::kFloat, rows_);
  const VitOutput exact = Forward(at::kDouble, rows_);
  ExpectWithinBound(single, exact);
  // The bound is not idle: half precision of the weights alone breaks it.
  for (auto& [name, tensor] : parameters_) tensor = tensor.to(at::kHalf).to(at::kFloat);
  EXPECT_GT(LargestDifference(Forward(at::kFloat, rows_).hidden.back(), exact.hidden.back()),
            kBound * exact.hidden.back().abs().max().item<double>());
}

TEST_F(TeacherPrecisionTest, AnotherMicroBatchIsWithinTheBound) {
  const VitOutput four = Forward(at::kFloat, rows_);
  for (const int64_t i : {0, 3}) {
    const VitOutput one = Forward(at::kFloat, rows_.slice(0, i, i + 1));
    VitOutput part{.importance = four.importance.slice(0, i, i + 1)};
    for (const at::Tensor& hidden : four.hidden) part.hidden.push_back(hidden.slice(0, i, i + 1));
    ExpectWithinBound(one, part);
  }
}

TEST_F(TeacherPrecisionTest, OtherThreadCountsAreWithinTheBound) {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const VitOutput one = Forward(at::kFloat, rows_);
  for (const int threads : {2, 3, 7}) {
    SCOPED_TRACE(threads);
    at::set_num_threads(threads);
    ExpectWithinBound(Forward(at::kFloat, rows_), one);
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace afterimage
