#include "core/analysis/pca.h"

#include <cmath>
#include <random>

#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;

// numpy: np.cov(x.T), np.linalg.eigh.
const std::vector<float> kRows = {1, 2, 0, 2, 1, 1, 3, 5, 2, 4, 3, 7, 0, 1, 1};

TEST(PcaTest, EqualsNumpy) {
  PcaAccumulator accumulator(3);
  accumulator.Add(kRows);
  EXPECT_EQ(accumulator.num_rows(), 5u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Pca pca, accumulator.Finish(3));
  EXPECT_THAT(pca.mean, ElementsAre(DoubleNear(2, 1e-12), DoubleNear(2.4, 1e-12), DoubleNear(2.2, 1e-12)));
  EXPECT_THAT(pca.variances, ElementsAre(DoubleNear(10.160952137582, 1e-9), DoubleNear(2.462345889941, 1e-9), DoubleNear(0.376701972478, 1e-9)));
  EXPECT_THAT(pca.components, ElementsAre(DoubleNear(0.452047488156, 1e-9), DoubleNear(0.296079677686, 1e-9), DoubleNear(0.841421352779, 1e-9),
                                          DoubleNear(0.243749951529, 1e-9), DoubleNear(0.866398104651, 1e-9), DoubleNear(-0.435821391612, 1e-9),
                                          DoubleNear(0.858043722418, 1e-9), DoubleNear(-0.402108379319, 1e-9), DoubleNear(-0.319483679866, 1e-9)));
}

TEST(PcaTest, DoesNotDependOnHowTheRowsArrive) {
  std::mt19937 random(7);
  std::vector<float> rows(6 * 1500);
  for (float& value : rows) value = static_cast<float>(random() % 1000) / 100;
  PcaAccumulator whole(6), pieces(6);
  whole.Add(rows);
  pieces.Add(std::span(rows).first(6));
  pieces.Add({});
  pieces.Add(std::span(rows).subspan(6, 6 * 700));
  pieces.Add(std::span(rows).subspan(6 * 701));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Pca a, whole.Finish(6));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Pca b, pieces.Finish(6));
  for (size_t i = 0; i < a.components.size(); ++i) EXPECT_NEAR(a.components[i], b.components[i], 1e-9);
}

TEST(PcaTest, FindsVarianceBesideALargeMean) {
  PcaAccumulator accumulator(2);
  for (int i = 0; i < 1000; ++i) {
    const float row[] = {1e6f + (i % 2 ? 1.0f : -1.0f), -1e6f};
    accumulator.Add(row);
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Pca pca, accumulator.Finish(1));
  EXPECT_NEAR(pca.variances[0], 1000.0 / 999, 1e-9);
  EXPECT_NEAR(pca.components[0], 1, 1e-9);
}

TEST(PcaTest, ProjectsOntoComponents) {
  const Pca pca{.mean = {1, 1}, .components = {0, 1, 1, 0}, .variances = {2, 1}};
  EXPECT_THAT(Project(pca, std::vector<float>{3, 7, 1, 1}),
              ElementsAre(FloatNear(6, 1e-6), FloatNear(2, 1e-6), FloatNear(0, 1e-6), FloatNear(0, 1e-6)));
}

TEST(PcaTest, ProjectionsHaveTheComponentsVariances) {
  PcaAccumulator accumulator(3);
  accumulator.Add(kRows);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Pca pca, accumulator.Finish(2));
  const std::vector<float> coordinates = Project(pca, kRows);
  ASSERT_EQ(coordinates.size(), 10u);
  for (int component = 0; component < 2; ++component) {
    double sum = 0, squares = 0;
    for (int row = 0; row < 5; ++row) {
      const double value = coordinates[row * 2 + component];
      sum += value;
      squares += value * value;
    }
    EXPECT_NEAR(sum, 0, 1e-5);
    EXPECT_NEAR(squares / 4, pca.variances[component], 1e-4);
  }
}

TEST(PcaTest, NeedsTwoRows) {
  PcaAccumulator accumulator(3);
  EXPECT_THAT(accumulator.Finish(1), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("there are 0")));
  accumulator.Add(std::span(kRows).first(3));
  EXPECT_THAT(accumulator.Finish(1), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("there are 1")));
}

TEST(PcaTest, RefusesMoreComponentsThanChannels) {
  PcaAccumulator accumulator(3);
  accumulator.Add(kRows);
  EXPECT_THAT(accumulator.Finish(4), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only 3 channels")));
}

}  // namespace
}  // namespace afterimage
