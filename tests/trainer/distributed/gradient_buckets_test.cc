#include "trainer/distributed/gradient_buckets.h"

#include <ATen/ATen.h>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/distributed/in_ranks.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using ::testing::HasSubstr;
using testing::InRanks;

// Three layers and a parameter that nothing uses.
ParameterMap MakeParameters() {
  ParameterMap parameters;
  parameters["a"] = at::linspace(-1, 1, 12).view({3, 4}).requires_grad_(true);
  parameters["b"] = at::linspace(0, 2, 20).view({4, 5}).requires_grad_(true);
  parameters["c"] = at::linspace(1, -2, 5).requires_grad_(true);
  parameters["fixed"] = at::ones({4});
  parameters["unused"] = at::ones({6}).requires_grad_(true);
  return parameters;
}

at::Tensor Loss(const ParameterMap& p, const at::Tensor& rows) {
  return (at::tanh(at::matmul(at::tanh(at::matmul(rows, p.at("a"))) * p.at("fixed"), p.at("b"))) * p.at("c"))
      .sum();
}

at::Tensor Rows(int64_t count, int step) {
  return at::arange(count * 3, at::kFloat).view({count, 3}).mul(0.1).add(step).sin();
}

TEST(GradientBucketsTest, GradientsAreThoseOfAllSamplesWhateverTheShares) {
  constexpr int64_t kCount = 11;
  for (const uint32_t num_ranks : {2u, 3u}) {
    for (const int64_t bucket_bytes : {int64_t{0}, int64_t{1}, int64_t{100}}) {
      ParameterMap whole = MakeParameters();
      InRanks(num_ranks, [&](Communicator& communicator) {
        ParameterMap mine = MakeParameters();
        GradientBuckets buckets(mine, &communicator, bucket_bytes);
        for (int step = 0; step < 3; ++step) {
          const at::Tensor rows = Rows(kCount, step);
          ParameterMap expected = MakeParameters();
          Loss(expected, rows).backward();
          const int64_t begin = communicator.rank() * kCount / num_ranks;
          const int64_t end = (communicator.rank() + 1) * kCount / num_ranks;
          // Two parts: the first one's gradients wait where autograd puts them.
          Loss(mine, rows.slice(0, begin, begin + 1)).backward();
          buckets.Begin();
          Loss(mine, rows.slice(0, begin + 1, end)).backward();
          ASSERT_THAT(buckets.Finish(), IsOk());
          for (const char* name : {"a", "b", "c"}) {
            EXPECT_TRUE(at::allclose(mine[name].grad(), expected[name].grad(), 1e-5, 1e-6)) << name << step;
            mine[name].mutable_grad() = at::Tensor();  // as the optimiser does
          }
          EXPECT_FALSE(mine["unused"].grad().defined());
          EXPECT_EQ(buckets.spans().size(), bucket_bytes == 1 ? 3u : bucket_bytes == 100 ? 2u : 1u);
        }
      });
    }
  }
}

TEST(GradientBucketsTest, ARankWithoutSamplesAddsZeros) {
  InRanks(2, [](Communicator& communicator) {
    ParameterMap mine = MakeParameters();
    GradientBuckets buckets(mine, &communicator, 1);
    for (int step = 0; step < 2; ++step) {
      ParameterMap expected = MakeParameters();
      Loss(expected, Rows(4, step)).backward();
      buckets.Begin();
      // The one that has none changes: also in the step in which the buckets are laid out.
      if (static_cast<int>(communicator.rank()) != step) Loss(mine, Rows(4, step)).backward();
      ASSERT_THAT(buckets.Finish(), IsOk());
      for (const char* name : {"a", "b", "c"}) {
        EXPECT_TRUE(at::equal(mine[name].grad(), expected[name].grad())) << name;
        mine[name].mutable_grad() = at::Tensor();
      }
    }
  });
}

TEST(GradientBucketsTest, SumsBeginWhileTheBackwardRuns) {
  InRanks(2, [](Communicator& communicator) {
    ParameterMap mine = MakeParameters();
    GradientBuckets buckets(mine, &communicator, 1);
    for (int step = 0; step < 2; ++step) {
      buckets.Begin();
      Loss(mine, Rows(5, step)).backward();
      const absl::Time after = absl::Now();
      ASSERT_THAT(buckets.Finish(), IsOk());
      ASSERT_EQ(buckets.spans().size(), 3u);
      if (step == 0) continue;  // laid out after its backward
      for (const auto& span : buckets.spans()) EXPECT_LE(span.begin, after);
      EXPECT_EQ(buckets.spans()[0].bytes, 5 * 4) << "the last layer's come first";
      EXPECT_EQ(buckets.spans()[2].bytes, 12 * 4);
    }
  });
}

TEST(GradientBucketsTest, AGradientOutsideOfTheLayoutIsAnError) {
  InRanks(1, [](Communicator& communicator) {
    ParameterMap mine = MakeParameters();
    GradientBuckets buckets(mine, &communicator, 0);
    buckets.Begin();
    Loss(mine, Rows(2, 0)).backward();
    ASSERT_THAT(buckets.Finish(), IsOk());
    buckets.Begin();
    (Loss(mine, Rows(2, 0)) + mine["unused"].sum()).backward();
    EXPECT_THAT(buckets.Finish(), StatusIs(absl::StatusCode::kInternal, HasSubstr("first step")));
  });
}

TEST(GradientBucketsTest, HooksGoWithTheBuckets) {
  ParameterMap mine = MakeParameters();
  {
    const auto communicators = InMemoryCommunicators(1);
    GradientBuckets buckets(mine, communicators[0].get(), 0);
    buckets.Begin();
  }
  Loss(mine, Rows(2, 0)).backward();  // calls nothing that has gone
  EXPECT_TRUE(mine["a"].grad().defined());
}

}  // namespace
}  // namespace afterimage::trainer
