#include "core/order/running_digest.h"

#include "gtest/gtest.h"

namespace afterimage {
namespace {

RecordKey Key(uint32_t view_seed) {
  RecordKey key;
  for (uint8_t i = 0; i < 16; ++i) key.image.bytes[i] = i;
  key.view_seed = view_seed;
  return key;
}
constexpr Digest128 kRecordDigest{.low = 0x0102030405060708, .high = 0x1112131415161718};

// The golden values are Python's: xxhash.xxh3_128 of struct.pack with the layout of docs/order.md.
TEST(RunningDigestTest, SampleSumIsGolden) {
  EXPECT_EQ(SampleSum(1234, Key(5), 6, RecordState::kOk, kRecordDigest),
            (StepSum{.low = 0xf4cc5016cc8ca258, .high = 0x1002c3e61a180dd5}));
  EXPECT_EQ(SampleSum(0, Key(5), 6, RecordState::kMissing, {}),
            (StepSum{.low = 0xe619924b30102eb4, .high = 0xd4cd5f66dbf9d071}));
}

TEST(RunningDigestTest, StartAndAdvanceAreGolden) {
  Digest256 set_id, order_id;
  set_id.bytes.fill(0xaa);
  order_id.bytes.fill(0xbb);
  const Digest128 start = EpochStartDigest(set_id, order_id, 3);
  EXPECT_EQ(start.Hex(), "396c4a29cced871f0281ef43c5fa4376");
  EXPECT_EQ(AdvanceDigest(start, 17, {.low = 100, .high = 200}).Hex(), "057626b152fda19caf4798a221cf9eef");
}

TEST(RunningDigestTest, EveryPartOfASampleCounts) {
  const StepSum sum = SampleSum(1, Key(2), 3, RecordState::kOk, kRecordDigest);
  RecordKey other_image = Key(2);
  other_image.image.bytes[15] = 0;
  EXPECT_NE(SampleSum(2, Key(2), 3, RecordState::kOk, kRecordDigest), sum);
  EXPECT_NE(SampleSum(1, other_image, 3, RecordState::kOk, kRecordDigest), sum);
  EXPECT_NE(SampleSum(1, Key(4), 3, RecordState::kOk, kRecordDigest), sum);
  EXPECT_NE(SampleSum(1, Key(2), 4, RecordState::kOk, kRecordDigest), sum);
  EXPECT_NE(SampleSum(1, Key(2), 3, RecordState::kDamaged, kRecordDigest), sum);
  EXPECT_NE(SampleSum(1, Key(2), 3, RecordState::kOk, {.low = kRecordDigest.low}), sum);
}

TEST(RunningDigestTest, EveryPartOfAStepCounts) {
  const Digest128 digest = AdvanceDigest({.low = 1, .high = 2}, 3, {.low = 4, .high = 5});
  EXPECT_NE(AdvanceDigest({.low = 2, .high = 1}, 3, {.low = 4, .high = 5}), digest);
  EXPECT_NE(AdvanceDigest({.low = 1, .high = 2}, 4, {.low = 4, .high = 5}), digest);
  EXPECT_NE(AdvanceDigest({.low = 1, .high = 2}, 3, {.low = 5, .high = 4}), digest);
}

TEST(RunningDigestTest, SumsWrapAndDoNotDependOnTheOrder) {
  StepSum sum{.low = ~uint64_t{0}, .high = ~uint64_t{0}};
  sum.Add({.low = 1, .high = 3});
  EXPECT_EQ(sum, (StepSum{.low = 0, .high = 2}));
  StepSum forwards, backwards;
  for (uint64_t i = 0; i < 10; ++i) {
    forwards.Add(SampleSum(i, Key(0), 0, RecordState::kOk, kRecordDigest));
    backwards.Add(SampleSum(9 - i, Key(0), 0, RecordState::kOk, kRecordDigest));
  }
  EXPECT_EQ(forwards, backwards);
}

}  // namespace
}  // namespace afterimage
