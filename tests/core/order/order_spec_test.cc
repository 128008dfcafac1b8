#include "core/order/order_spec.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <vector>

#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

OrderSpec Spec(uint64_t num_occurrences, OrderSpec::Tail tail = OrderSpec::Tail::kDrop) {
  OrderSpec spec;
  spec.manifest.bytes.fill(0x33);
  spec.num_occurrences = num_occurrences;
  spec.order_seed = 7;
  spec.num_view_seeds = 2;
  spec.mask = {.type = MaskSpec::Type::kRandom, .num_visible = 15, .mask_seed = 3, .num_masks = 2};
  spec.tail = tail;
  return spec;
}

// The golden values come from docs/order.md's description written in Python (xxhash 3).
TEST(PermuteIndexTest, WholePermutationsAreGolden) {
  const auto permutation = [](uint64_t seed, uint64_t epoch) {
    std::vector<uint64_t> values;
    for (uint64_t i = 0; i < 10; ++i) values.push_back(PermuteIndex(i, 10, seed, epoch));
    return values;
  };
  EXPECT_THAT(permutation(0, 0), ElementsAre(5, 6, 3, 7, 2, 1, 0, 9, 4, 8));
  EXPECT_THAT(permutation(0, 1), ElementsAre(1, 8, 5, 7, 0, 6, 2, 3, 4, 9));
  EXPECT_THAT(permutation(1, 0), ElementsAre(5, 8, 2, 0, 7, 1, 3, 4, 6, 9));
}

TEST(PermuteIndexTest, SingleValuesAreGolden) {
  EXPECT_EQ(PermuteIndex(0, 1000000, 42, 7), 712246u);
  EXPECT_EQ(PermuteIndex(999999, 1000000, 42, 7), 735539u);
  EXPECT_EQ(PermuteIndex(0, 1281167, 1, 0), 715855u);
  EXPECT_EQ(PermuteIndex(1281166, 1281167, 1, 299), 667524u);
  EXPECT_EQ(PermuteIndex(12345678901, uint64_t{1} << 40, (uint64_t{1} << 63) - 1, (uint64_t{1} << 32) - 1), 803610384365u);
  const uint64_t largest = (uint64_t{1} << 63) - 1;
  EXPECT_EQ(PermuteIndex(0, largest, 3, 3), 7464070477704279912u);
  EXPECT_EQ(PermuteIndex(largest - 1, largest, 3, 3), 7422000374675415635u);
}

TEST(PermuteIndexTest, IsABijectionOfEverySmallSize) {
  for (uint64_t size = 1; size <= 300; ++size) {
    std::vector<bool> seen(size, false);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t value = PermuteIndex(i, size, size * 31, size % 5);
      ASSERT_LT(value, size);
      ASSERT_FALSE(seen[value]) << "size " << size << ": " << value << " comes twice";
      seen[value] = true;
    }
  }
}

TEST(PermuteIndexTest, IsABijectionOfAMillion) {
  constexpr uint64_t kSize = 1000000;
  std::vector<bool> seen(kSize, false);
  for (uint64_t i = 0; i < kSize; ++i) seen[PermuteIndex(i, kSize, 1, 2)] = true;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<int64_t>(kSize));
}

// Chi-square of a table of counts that should be equal, in standard deviations from its expectation.
double ChiSquareScore(const std::vector<double>& counts, double expected, double degrees_of_freedom) {
  double sum = 0;
  for (const double count : counts) sum += (count - expected) * (count - expected) / expected;
  return (sum - degrees_of_freedom) / std::sqrt(2 * degrees_of_freedom);
}

TEST(PermuteIndexTest, EveryIndexComesToEveryPositionEquallyOftenOverEpochsAndSeeds) {
  for (const uint64_t size : {2, 3, 5, 10, 16, 17, 60}) {
    for (const bool by_epoch : {true, false}) {
      const uint64_t num_draws = 400 * size;
      std::vector<double> counts(size * size, 0.0);
      for (uint64_t draw = 0; draw < num_draws; ++draw) {
        for (uint64_t i = 0; i < size; ++i) {
          ++counts[i * size + PermuteIndex(i, size, by_epoch ? 9 : draw, by_epoch ? draw : 9)];
        }
      }
      const double freedom = static_cast<double>((size - 1) * (size - 1));
      EXPECT_LT(std::abs(ChiSquareScore(counts, 400, freedom)), 4.5) << "size " << size << " by_epoch " << by_epoch;
    }
  }
}

TEST(PermuteIndexTest, MixesPositionsAndIndicesOfOneLargeEpoch) {
  constexpr uint64_t kSize = 1 << 18, kBuckets = 64;  // 64 pairs expected in each of 64 x 64 cells
  for (const uint64_t seed : {0, 1, 12345}) {
    std::vector<double> counts(kBuckets * kBuckets, 0.0);
    for (uint64_t i = 0; i < kSize; ++i) {
      ++counts[i / (kSize / kBuckets) * kBuckets + PermuteIndex(i, kSize, seed, 0) / (kSize / kBuckets)];
    }
    EXPECT_LT(std::abs(ChiSquareScore(counts, 64, (kBuckets - 1) * (kBuckets - 1))), 4.5) << "seed " << seed;
  }
}

TEST(PermuteIndexTest, NeighboursDoNotStayTogether) {
  constexpr uint64_t kSize = 10007;
  uint64_t num_adjacent = 0;
  for (uint64_t i = 0; i + 1 < kSize; ++i) {
    if (PermuteIndex(i + 1, kSize, 4, 0) == PermuteIndex(i, kSize, 4, 0) + 1) ++num_adjacent;
  }
  EXPECT_LE(num_adjacent, 8u);  // 1 is expected
}

TEST(OrderSpecTest, StepsPerEpoch) {
  EXPECT_EQ(StepsPerEpoch(Spec(23), 8), 2u);
  EXPECT_EQ(StepsPerEpoch(Spec(23, OrderSpec::Tail::kPad), 8), 3u);
  EXPECT_EQ(StepsPerEpoch(Spec(24), 8), 3u);
  EXPECT_EQ(StepsPerEpoch(Spec(24, OrderSpec::Tail::kPad), 8), 3u);
  EXPECT_EQ(StepsPerEpoch(Spec(7), 8), 0u);
  EXPECT_EQ(StepsPerEpoch(Spec(7, OrderSpec::Tail::kPad), 8), 1u);
  EXPECT_EQ(StepsPerEpoch(Spec(7), 0), 0u);
}

TEST(OrderSpecTest, EpochsGoThroughViewSeedsAndThenMasks) {
  const OrderSpec spec = Spec(23);
  std::vector<uint32_t> seeds, masks, stored_masks;
  for (uint64_t epoch = 0; epoch < 6; ++epoch) {
    seeds.push_back(EntryAt(spec, 0, epoch, 0).view_seed);
    masks.push_back(EntryAt(spec, 0, epoch, 0).mask_index);
    stored_masks.push_back(EntryAt(spec, 2, epoch, 0).mask_index);
  }
  EXPECT_THAT(seeds, ElementsAre(0, 1, 0, 1, 0, 1));
  EXPECT_THAT(masks, ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_THAT(stored_masks, ElementsAre(0, 0, 1, 1, 0, 0));
}

TEST(OrderSpecTest, WithoutABoundEveryEpochHasAFreshViewSeed) {
  OrderSpec spec = Spec(23);
  spec.num_view_seeds = 0;
  EXPECT_EQ(EntryAt(spec, 0, 299, 4).view_seed, 299u);
  EXPECT_EQ(EntryAt(spec, 0, 299, 4).mask_index, 0u);
}

TEST(OrderSpecTest, EntriesAreThePermutation) {
  const OrderSpec spec = Spec(23);
  for (uint64_t position = 0; position < 23; ++position) {
    const OrderEntry entry = EntryAt(spec, 0, 5, position);
    EXPECT_EQ(entry.occurrence, PermuteIndex(position, 23, 7, 5));
    EXPECT_FALSE(entry.padding);
  }
}

TEST(OrderSpecTest, PaddingRepeatsTheFrontOfTheEpoch) {
  const OrderSpec spec = Spec(3, OrderSpec::Tail::kPad);
  for (uint64_t position = 3; position < 8; ++position) {  // a batch of 8: more than once around
    const OrderEntry entry = EntryAt(spec, 0, 0, position);
    EXPECT_TRUE(entry.padding);
    EXPECT_EQ(entry.occurrence, EntryAt(spec, 0, 0, position % 3).occurrence);
  }
}

TEST(OrderSpecTest, RanksShareEachBatchWithoutGapOrOverlap) {
  for (const uint64_t batch : {1, 7, 8, 256}) {
    for (uint32_t num_ranks = 1; num_ranks <= 9; ++num_ranks) {
      uint64_t expected_begin = 0;
      for (uint32_t rank = 0; rank < num_ranks; ++rank) {
        const SlotRange slots = SlotsOfRank({rank, num_ranks}, batch);
        EXPECT_EQ(slots.begin, expected_begin);
        EXPECT_LE(slots.end - slots.begin, (batch + num_ranks - 1) / num_ranks);
        EXPECT_GE(slots.end - slots.begin, batch / num_ranks);
        expected_begin = slots.end;
      }
      EXPECT_EQ(expected_begin, batch);
    }
  }
  EXPECT_EQ(SlotsOfRank({1, 3}, 8).begin, 2u);
  EXPECT_EQ(SlotsOfRank({1, 3}, 8).end, 5u);
}

TEST(OrderSpecTest, IdIsGolden) {
  EXPECT_EQ(Spec(8000, OrderSpec::Tail::kPad).Id().Hex(), "741573624d3df3b43ae7da7e1a29bf50b1f1002ad1488f3cbea3a85e4b90ce45");
}

TEST(OrderSpecTest, CanonicalFormGoesThereAndBack) {
  const OrderSpec spec = Spec(8000, OrderSpec::Tail::kPad);
  EXPECT_THAT(OrderSpec::FromCanonical(spec.ToCanonical()), IsOkAndHolds(spec));
}

TEST(OrderSpecTest, EveryFieldIsInTheId) {
  std::set<Digest256> ids;
  const auto id_with = [&](const std::function<void(OrderSpec&)>& change) {
    OrderSpec spec = Spec(23);
    change(spec);
    ids.insert(spec.Id());
  };
  id_with([](OrderSpec&) {});
  id_with([](OrderSpec& spec) { spec.manifest.bytes[0] = 0; });
  id_with([](OrderSpec& spec) { spec.num_occurrences = 24; });
  id_with([](OrderSpec& spec) { spec.order_seed = 8; });
  id_with([](OrderSpec& spec) { spec.num_view_seeds = 3; });
  id_with([](OrderSpec& spec) { spec.mask.mask_seed = 4; });
  id_with([](OrderSpec& spec) { spec.tail = OrderSpec::Tail::kPad; });
  EXPECT_EQ(ids.size(), 7u);
}

TEST(OrderSpecTest, ValidateNamesTheField) {
  EXPECT_THAT(Spec(23).Validate(), IsOk());
  const auto expect_refused = [](const std::function<void(OrderSpec&)>& change, const char* text) {
    OrderSpec spec = Spec(23);
    change(spec);
    EXPECT_THAT(spec.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  expect_refused([](OrderSpec& spec) { spec.manifest = {}; }, "names no manifest");
  expect_refused([](OrderSpec& spec) { spec.num_occurrences = 0; }, "num_occurrences is 0");
  expect_refused([](OrderSpec& spec) { spec.num_occurrences = ~uint64_t{0}; }, "num_occurrences is 18446744073709551615");
  expect_refused([](OrderSpec& spec) { spec.order_seed = uint64_t{1} << 63; }, "order_seed is 9223372036854775808");
  expect_refused([](OrderSpec& spec) { spec.mask.num_visible = 0; }, "0 visible patches");
}

}  // namespace
}  // namespace afterimage
