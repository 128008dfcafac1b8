// What every Communicator does: include, and instantiate with CommunicatorsUnderTest.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "trainer/distributed/communicator.h"

namespace afterimage::trainer::testing {

struct CommunicatorsUnderTest {
  std::string name;
  uint32_t num_ranks = 1;
  // The communicator of each rank of a new group; called from a thread per rank, all at once.
  std::function<std::function<std::unique_ptr<Communicator>(uint32_t rank)>()> new_group;
};
inline void PrintTo(const CommunicatorsUnderTest& under_test, std::ostream* out) { *out << under_test.name; }

class CommunicatorConformance : public ::testing::TestWithParam<CommunicatorsUnderTest> {
 protected:
  static uint32_t num_ranks() { return GetParam().num_ranks; }

  // Runs `rank` with the communicator of each rank, in a thread each.
  static void InRanks(const std::function<void(Communicator&)>& rank) {
    const auto make = GetParam().new_group();
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < num_ranks(); ++r) {
      threads.emplace_back([&, r] {
        const std::unique_ptr<Communicator> communicator = make(r);
        ASSERT_NE(communicator, nullptr);
        EXPECT_EQ(communicator->rank(), r);
        EXPECT_EQ(communicator->num_ranks(), num_ranks());
        rank(*communicator);
        communicator->Leave(absl::OkStatus());
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(CommunicatorConformance);

TEST_P(CommunicatorConformance, SumsOverAllRanks) {
  InRanks([](Communicator& communicator) {
    const at::Tensor tensor = at::arange(1000, at::kFloat) + static_cast<double>(communicator.rank());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sum, communicator.StartSum(tensor));
    ASSERT_THAT(sum->Wait(), afterimage::testing::IsOk());
    const double w = num_ranks();
    EXPECT_TRUE(at::equal(tensor, at::arange(1000, at::kFloat) * w + w * (w - 1) / 2));
    EXPECT_LE(sum->finished(), absl::Now());
  });
}

TEST_P(CommunicatorConformance, SumsAreTheSameOnAllRanksToTheLastBit) {
  InRanks([](Communicator& communicator) {
    // Values whose sum depends on the order in which they are taken.
    const double r = communicator.rank();
    const at::Tensor tensor = at::arange(50001, at::kFloat).mul(0.37 + r).sin().mul(std::pow(10.0, 3 * r));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sum, communicator.StartSum(tensor));
    ASSERT_THAT(sum->Wait(), afterimage::testing::IsOk());
    const std::string bytes(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto all, communicator.Gather(bytes));
    for (const std::string& other : all) EXPECT_TRUE(other == bytes);
  });
}

TEST_P(CommunicatorConformance, IntegersWrapAround) {
  InRanks([](Communicator& communicator) {
    const at::Tensor tensor = at::full({2}, INT64_MAX, at::kLong);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sum, communicator.StartSum(tensor));
    ASSERT_THAT(sum->Wait(), afterimage::testing::IsOk());
    const uint64_t expected = static_cast<uint64_t>(INT64_MAX) * num_ranks();
    EXPECT_EQ(static_cast<uint64_t>(tensor[1].item<int64_t>()), expected);
  });
}

TEST_P(CommunicatorConformance, ManySumsAreUnderWayAtOnce) {
  InRanks([](Communicator& communicator) {
    std::vector<at::Tensor> tensors;
    std::vector<std::unique_ptr<PendingSum>> sums;
    for (int i = 0; i < 20; ++i) {
      tensors.push_back(at::full({1 + 997 * i}, i + static_cast<int>(communicator.rank()), at::kFloat));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto sum, communicator.StartSum(tensors.back()));
      sums.push_back(std::move(sum));
    }
    const int w = static_cast<int>(num_ranks());
    for (int i = 19; i >= 0; --i) {
      ASSERT_THAT(sums[i]->Wait(), afterimage::testing::IsOk());
      EXPECT_TRUE((tensors[i] == static_cast<double>(i * w + w * (w - 1) / 2)).all().item<bool>()) << i;
    }
  });
}

TEST_P(CommunicatorConformance, SumsParametersOfAutograd) {
  InRanks([](Communicator& communicator) {
    const at::Tensor parameter = at::ones({3}).requires_grad_(true);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sum, communicator.StartSum(parameter));
    ASSERT_THAT(sum->Wait(), afterimage::testing::IsOk());
    EXPECT_EQ(parameter[2].item<float>(), static_cast<float>(num_ranks()));
  });
}

TEST_P(CommunicatorConformance, BroadcastsFromAnyRank) {
  InRanks([](Communicator& communicator) {
    for (uint32_t root = 0; root < num_ranks(); ++root) {
      const at::Tensor tensor = at::full({7, 3}, static_cast<double>(communicator.rank()), at::kDouble);
      const at::Tensor scalar = at::full({}, static_cast<double>(communicator.rank()), at::kFloat);
      ASSERT_THAT(communicator.Broadcast(tensor, root), afterimage::testing::IsOk());
      ASSERT_THAT(communicator.Broadcast(scalar, root), afterimage::testing::IsOk());
      EXPECT_TRUE((tensor == static_cast<double>(root)).all().item<bool>());
      EXPECT_EQ(scalar.item<float>(), static_cast<float>(root));
    }
  });
}

TEST_P(CommunicatorConformance, GathersTextsOfAnyLength) {
  InRanks([](Communicator& communicator) {
    const auto text_of = [](uint32_t rank) {
      return std::string(rank * 3000, static_cast<char>('a' + rank)) + std::string(1, '\0');
    };
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto texts, communicator.Gather(text_of(communicator.rank())));
    ASSERT_EQ(texts.size(), num_ranks());
    for (uint32_t rank = 0; rank < num_ranks(); ++rank) EXPECT_EQ(texts[rank], text_of(rank));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto none, communicator.Gather(""));
    EXPECT_THAT(none, ::testing::Each(""));
  });
}

TEST_P(CommunicatorConformance, ABarrierLetsNobodyPassBeforeTheLastHasCome) {
  std::atomic<uint32_t> num_come{0};
  InRanks([&](Communicator& communicator) {
    absl::SleepFor(absl::Milliseconds(20) * communicator.rank());
    ++num_come;
    ASSERT_THAT(communicator.Barrier(), afterimage::testing::IsOk());
    EXPECT_EQ(num_come.load(), num_ranks());
  });
}

TEST_P(CommunicatorConformance, ARankThatLeavesWithAnErrorEndsTheOthersWaitsWithItsText) {
  if (num_ranks() == 1) GTEST_SKIP() << "nobody waits";
  InRanks([](Communicator& communicator) {
    communicator.SetActivity("step 3: input");
    ASSERT_THAT(communicator.Barrier(), afterimage::testing::IsOk());
    if (communicator.rank() == 1) {
      communicator.Leave(absl::DataLossError("the disk is broken"));
      return;
    }
    const auto fails = afterimage::testing::StatusIs(
        absl::StatusCode::kUnavailable,
        ::testing::AllOf(::testing::HasSubstr("rank 1"), ::testing::HasSubstr("the disk is broken")));
    EXPECT_THAT(communicator.Barrier(), fails);
    EXPECT_THAT(communicator.Gather("x").status(), ::testing::Not(afterimage::testing::IsOk()));
  });
}

}  // namespace afterimage::trainer::testing
