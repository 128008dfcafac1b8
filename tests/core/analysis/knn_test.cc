#include "core/analysis/knn.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Directions in the plane, by degrees; the length does not matter.
std::vector<float> Directions(const std::vector<double>& degrees, double length = 1) {
  std::vector<float> rows;
  for (const double angle : degrees) {
    rows.push_back(static_cast<float>(length * std::cos(angle * M_PI / 180)));
    rows.push_back(static_cast<float>(length * std::sin(angle * M_PI / 180)));
  }
  return rows;
}

TEST(KnnTest, NearestNeighbourByDirectionNotDistance) {
  const std::vector<float> train = Directions({0, 90}, 100);
  const std::vector<int32_t> labels = {3, 1};
  EXPECT_THAT(KnnClassify(train, labels, Directions({10, 80, -40}, 0.01), 2, 4, {.k = 1}),
              IsOkAndHolds(ElementsAre(3, 1, 3)));
}

TEST(KnnTest, ManyFarNeighboursOutvoteANearOneOnlyAtAHighTemperature) {
  // cos 5 = 0.996, cos 40 = 0.766: at 0.07 a near vote counts exp(0.230 / 0.07) = 26 far ones.
  const std::vector<float> train = Directions({5, 40, -40, 40});
  const std::vector<int32_t> labels = {1, 0, 0, 0};
  const std::vector<float> test = Directions({0});
  EXPECT_THAT(KnnClassify(train, labels, test, 2, 2, {.k = 4, .temperature = 0.07}), IsOkAndHolds(ElementsAre(1)));
  EXPECT_THAT(KnnClassify(train, labels, test, 2, 2, {.k = 4, .temperature = 10}), IsOkAndHolds(ElementsAre(0)));
  EXPECT_THAT(KnnClassify(train, labels, test, 2, 2, {.k = 1, .temperature = 10}), IsOkAndHolds(ElementsAre(1)));
}

TEST(KnnTest, TiesGoToTheEarlierRowAndTheSmallerClass) {
  const std::vector<float> train = Directions({30, 30});
  const std::vector<int32_t> labels = {2, 1};
  EXPECT_THAT(KnnClassify(train, labels, Directions({0}), 2, 3, {.k = 1}), IsOkAndHolds(ElementsAre(2)));
  EXPECT_THAT(KnnClassify(train, labels, Directions({0}), 2, 3, {.k = 2}), IsOkAndHolds(ElementsAre(1)));
}

TEST(KnnTest, AVeryLowTemperatureDoesNotOverflow) {
  const std::vector<float> train = Directions({0, 1, 2});
  const std::vector<int32_t> labels = {1, 0, 0};
  EXPECT_THAT(KnnClassify(train, labels, Directions({0}), 2, 2, {.k = 3, .temperature = 1e-6}), IsOkAndHolds(ElementsAre(1)));
}

TEST(KnnTest, ARowOfZerosIsNoError) {
  EXPECT_THAT(KnnClassify(Directions({0, 90}), std::vector<int32_t>{0, 1}, std::vector<float>{0, 0}, 2, 2, {.k = 1}),
              IsOkAndHolds(ElementsAre(0)));
}

// Several blocks of both sides, against the definition.
TEST(KnnTest, EqualsThePlainLoopOnManyRowsWhateverTheThreads) {
  constexpr uint32_t kWidth = 5, kTrain = 4500, kTest = 300, kClasses = 7, kK = 12;
  std::mt19937 random(3);
  const auto draw = [&](size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(random() % 20001) / 10000 - 1;
    return values;
  };
  const std::vector<float> train = draw(size_t{kTrain} * kWidth), test = draw(size_t{kTest} * kWidth);
  std::vector<int32_t> labels(kTrain);
  for (int32_t& label : labels) label = static_cast<int32_t>(random() % kClasses);

  std::vector<int32_t> expected;
  for (uint32_t i = 0; i < kTest; ++i) {
    std::vector<std::pair<double, uint32_t>> nearest;
    for (uint32_t j = 0; j < kTrain; ++j) {
      double dot = 0, a = 0, b = 0;
      for (uint32_t c = 0; c < kWidth; ++c) {
        dot += double{test[i * kWidth + c]} * train[j * kWidth + c];
        a += double{test[i * kWidth + c]} * test[i * kWidth + c];
        b += double{train[j * kWidth + c]} * train[j * kWidth + c];
      }
      nearest.push_back({-dot / std::sqrt(a * b), j});
    }
    std::sort(nearest.begin(), nearest.end());
    std::vector<double> votes(kClasses);
    for (uint32_t n = 0; n < kK; ++n) votes[labels[nearest[n].second]] += std::exp(-nearest[n].first / 0.07);
    expected.push_back(static_cast<int32_t>(std::max_element(votes.begin(), votes.end()) - votes.begin()));
  }
  for (const uint32_t num_threads : {1u, 4u}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        const std::vector<int32_t> classes,
        KnnClassify(train, labels, test, kWidth, kClasses, {.k = kK, .num_threads = num_threads}));
    EXPECT_EQ(classes, expected) << num_threads << " threads";
  }
}

TEST(KnnTest, AccuracyIsTheFractionOfRightRows) {
  const std::vector<float> train = Directions({0, 90});
  const uint32_t ks[] = {1};
  EXPECT_THAT(KnnAccuracies(train, std::vector<int32_t>{0, 1}, Directions({1, 2, 89, 88}),
                            std::vector<int32_t>{0, 1, 1, 1}, 2, 2, ks),
              IsOkAndHolds(ElementsAre(0.75)));
}

TEST(KnnTest, SeveralKFromOneSearchAreThoseOfSearchesOfTheirOwn) {
  std::mt19937 random(5);
  std::vector<double> angles(200), tests(60);
  for (double& angle : angles) angle = random() % 3600 * 0.1;
  for (double& angle : tests) angle = random() % 3600 * 0.1;
  std::vector<int32_t> labels;
  for (const double angle : angles) labels.push_back(static_cast<int32_t>((static_cast<int>(angle) / 30 + random() % 2) % 5));
  const std::vector<float> train = Directions(angles), test = Directions(tests);
  const std::vector<uint32_t> ks = {20, 1, 200, 500};
  const auto together = KnnClassifyForEach(train, labels, test, 2, 5, ks);
  ASSERT_TRUE(together.ok()) << together.status();
  for (size_t i = 0; i < ks.size(); ++i) {
    const auto alone = KnnClassify(train, labels, test, 2, 5, {.k = ks[i]});
    ASSERT_TRUE(alone.ok()) << alone.status();
    EXPECT_EQ(together->at(i), *alone) << ks[i];
  }
  EXPECT_NE(together->at(0), together->at(1));
  EXPECT_THAT(KnnClassifyForEach(train, labels, test, 2, 5, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no k")));
}

TEST(KnnTest, RefusesWhatDoesNotFit) {
  const std::vector<float> rows = Directions({0, 90});
  const std::vector<int32_t> labels = {0, 1};
  const auto accuracy = [&](std::vector<float> train, std::vector<int32_t> train_labels, std::vector<int32_t> test_labels,
                            uint32_t k = 1, double temperature = 0.07) {
    const uint32_t ks[] = {k};
    return KnnAccuracies(train, train_labels, rows, test_labels, 2, 2, ks, {.temperature = temperature});
  };
  const auto is_invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  EXPECT_THAT(accuracy({1, 2, 3}, labels, labels), is_invalid("train has 3 values"));
  EXPECT_THAT(accuracy(rows, {0}, labels), is_invalid("train has 2 rows, but 1 labels"));
  EXPECT_THAT(accuracy(rows, {0, 2}, labels), is_invalid("train row 1 has the label 2, must be in 0..1"));
  EXPECT_THAT(accuracy(rows, labels, {-1, 0}), is_invalid("test row 0 has the label -1"));
  EXPECT_THAT(accuracy(rows, labels, {}), is_invalid("no test rows"));
  EXPECT_THAT(accuracy({}, {}, labels), is_invalid("no training rows"));
  EXPECT_THAT(accuracy(rows, labels, labels, 0), is_invalid("k is 0"));
  EXPECT_THAT(accuracy(rows, labels, labels, 1, 0), is_invalid("temperature 0"));
  EXPECT_THAT(accuracy({0, 1, NAN, 1}, labels, labels), is_invalid("train row 1 has a NaN"));
}

}  // namespace
}  // namespace afterimage
