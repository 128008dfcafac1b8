// What every EpochSource does.
//
//   INSTANTIATE_TEST_SUITE_P(Reader, EpochSourceConformance, ::testing::Values(MakeReader));
//
// where MakeReader makes the source over a catalog (for the remote client: with a server between). Link
// afterimage_conformance and afterimage_order.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/feature/feature_block.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_source.h"
#include "core/order/running_digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::testing {

// The catalog outlives the source.
using EpochSourceFactory = std::function<std::unique_ptr<EpochSource>(FeatureCatalog*)>;

class EpochSourceConformance : public ::testing::TestWithParam<EpochSourceFactory> {
 protected:
  static constexpr uint64_t kNumImages = 23;
  static constexpr uint64_t kBatch = 8;  // two whole batches and one of 7
  static constexpr uint32_t kNumViewSeeds = 2;

  // Fills a set with pictures 0 .. 22, of which picture 0 is held twice by the data set, and opens the
  // source.
  void Fill(const SetDescription& description, const FailsFunction& fails = {}) {
    description_ = description;
    std::vector<ImageKey> keys = MakeSyntheticManifest(kNumImages - 1).keys();
    keys.push_back(SyntheticImageKey(0));
    manifest_ = Manifest::FromOccurrences(keys);
    ASSERT_THAT(cache_.PutManifest(manifest_), IsOk());
    if (!description.set.profile_digest.IsZero()) {
      ASSERT_THAT(cache_.PutProfile(MakeSyntheticProfile(description)), IsOk());
    }
    ASSERT_THAT(cache_.CreateSet(description), IsOk());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    cache_.OpenSet(description.set.Id(), OpenMode::kContribute));
    ASSERT_THAT(FillSet(set, manifest_.digest(), kNumViewSeeds, fails), IsOk());
    source_ = GetParam()(&catalog_);
    ASSERT_NE(source_, nullptr);
  }

  EpochRequest Request(OrderSpec::Tail tail = OrderSpec::Tail::kDrop) const {
    EpochRequest request;
    request.set_id = description_.set.Id();
    request.order.manifest = manifest_.digest();
    request.order.num_occurrences = manifest_.num_occurrences();
    request.order.order_seed = 5;
    request.order.num_view_seeds = kNumViewSeeds;
    request.order.mask = NumMasks() > 0 ? description_.set.mask : MaskSpec{.num_visible = 5};
    request.order.tail = tail;
    request.global_batch = kBatch;
    return request;
  }
  uint32_t NumMasks() const {
    return description_.set.token_policy == TokenPolicy::kVisible ? description_.set.mask.num_masks : 0;
  }
  RecordKey KeyAt(const EpochRequest& request, uint64_t position) const {
    const OrderEntry entry = EntryAt(request.order, NumMasks(), request.epoch, position);
    return {manifest_.keys()[manifest_.KeyIndexOfOccurrence(entry.occurrence)], entry.view_seed};
  }

  // All frames of a request; credit is returned as they come.
  std::vector<EpochFrame> ReadAll(const EpochRequest& request) {
    std::vector<EpochFrame> frames;
    absl::StatusOr<std::unique_ptr<EpochStream>> stream = source_->Open(request);
    EXPECT_THAT(stream, IsOk());
    if (!stream.ok()) return frames;
    while (true) {
      absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      EXPECT_THAT(frame, IsOk());
      if (!frame.ok() || !frame->has_value()) return frames;
      (*stream)->ReturnCredit((*frame)->CostBytes());
      frames.push_back(*std::move(*frame));
    }
  }

  static StepSum SumOf(const EpochFrame& frame) {
    return SampleSum(frame.position, frame.key, frame.mask_index, frame.state, frame.record_digest);
  }
  Digest128 RunningDigest(const EpochRequest& request, const std::vector<EpochFrame>& frames) const {
    std::map<uint64_t, StepSum> steps;
    for (const EpochFrame& frame : frames) steps[frame.step].Add(SumOf(frame));
    Digest128 digest = EpochStartDigest(request.set_id, request.order.Id(), request.epoch);
    for (const auto& [step, sum] : steps) digest = AdvanceDigest(digest, step, sum);
    return digest;
  }
  static std::string Bytes(const EpochFrame& frame) {
    return {frame.block.bytes.begin(), frame.block.bytes.end()};
  }

  // Waits until the number of records read stays the same for a while.
  uint64_t SettledReads() {
    uint64_t previous = ~uint64_t{0};
    while (true) {
      const uint64_t now = catalog_.observer().num_reads;
      if (now == previous) return now;
      previous = now;
      absl::SleepFor(absl::Milliseconds(100));
    }
  }

  InMemoryFeatureCatalog cache_;
  ObservedCatalog catalog_{&cache_};
  SetDescription description_;
  Manifest manifest_;
  std::unique_ptr<EpochSource> source_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EpochSourceConformance);

TEST_P(EpochSourceConformance, FramesComeInTheOrderOfTheSpec) {
  Fill(MakeSyntheticDescription());
  for (const uint64_t epoch : {0, 1, 2}) {
    EpochRequest request = Request();
    request.epoch = epoch;
    const std::vector<EpochFrame> frames = ReadAll(request);
    ASSERT_EQ(frames.size(), 2 * kBatch);
    for (uint64_t i = 0; i < frames.size(); ++i) {
      const EpochFrame& frame = frames[i];
      const OrderEntry entry = EntryAt(request.order, 0, epoch, i);
      EXPECT_EQ(frame.position, i);
      EXPECT_EQ(frame.step, i / kBatch);
      EXPECT_EQ(frame.occurrence, entry.occurrence);
      EXPECT_EQ(frame.key, KeyAt(request, i));
      EXPECT_EQ(frame.mask_index, epoch / kNumViewSeeds);
      EXPECT_FALSE(frame.padding);
      ASSERT_EQ(frame.state, RecordState::kOk);
      EXPECT_EQ(Bytes(frame), MakeSyntheticBlock(description_, frame.key));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(frame.block.bytes));
      EXPECT_EQ(frame.record_digest, block.record_digest());
    }
  }
}

TEST_P(EpochSourceConformance, PaddingRepeatsTheFront) {
  Fill(MakeSyntheticDescription());
  const EpochRequest request = Request(OrderSpec::Tail::kPad);
  const std::vector<EpochFrame> frames = ReadAll(request);
  ASSERT_EQ(frames.size(), 3 * kBatch);
  std::multiset<ImageKey> seen;
  for (uint64_t i = 0; i < kNumImages; ++i) {
    EXPECT_FALSE(frames[i].padding);
    seen.insert(frames[i].key.image);
  }
  for (uint64_t i = 0; i + 1 < kNumImages; ++i) EXPECT_EQ(seen.count(SyntheticImageKey(i)), i == 0 ? 2u : 1u);
  EXPECT_TRUE(frames[23].padding);
  EXPECT_EQ(frames[23].key, frames[0].key);
  EXPECT_EQ(frames[23].position, 23u);
}

TEST_P(EpochSourceConformance, AnyNumberOfRanksReadsTheSameEpoch) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request(OrderSpec::Tail::kPad);
  const std::vector<EpochFrame> whole = ReadAll(request);
  const Digest128 expected = RunningDigest(request, whole);
  for (const uint32_t num_ranks : {1, 2, 3, 7, 8}) {
    std::vector<EpochFrame> frames;
    for (uint32_t rank = 0; rank < num_ranks; ++rank) {
      request.slice = {rank, num_ranks};
      const std::vector<EpochFrame> part = ReadAll(request);
      for (const EpochFrame& frame : part) {
        const SlotRange slots = SlotsOfRank(request.slice, kBatch);
        EXPECT_GE(frame.position % kBatch, slots.begin);
        EXPECT_LT(frame.position % kBatch, slots.end);
      }
      frames.insert(frames.end(), part.begin(), part.end());
    }
    EXPECT_EQ(RunningDigest(request, frames), expected) << num_ranks << " ranks";
    std::sort(frames.begin(), frames.end(),
              [](const auto& a, const auto& b) { return a.position < b.position; });
    ASSERT_EQ(frames.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(frames[i].position, i);
      EXPECT_EQ(frames[i].key, whole[i].key);
      EXPECT_EQ(Bytes(frames[i]), Bytes(whole[i]));
    }
  }
}

TEST_P(EpochSourceConformance, StepRangesContinueWhereTheLastOneEnded) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request(OrderSpec::Tail::kPad);
  const std::vector<EpochFrame> whole = ReadAll(request);
  request.step_end = 1;
  std::vector<EpochFrame> parts = ReadAll(request);
  EXPECT_EQ(parts.size(), kBatch);
  request.step_begin = 1;
  request.step_end = 0;
  const std::vector<EpochFrame> rest = ReadAll(request);
  parts.insert(parts.end(), rest.begin(), rest.end());
  ASSERT_EQ(parts.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(parts[i].position, whole[i].position);
  EXPECT_EQ(RunningDigest(request, parts), RunningDigest(request, whole));
}

TEST_P(EpochSourceConformance, ResumingAfterTheLastStepIsAnEmptyStream) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.step_begin = 2;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, source_->Open(request));
  for (int i = 0; i < 2; ++i) EXPECT_THAT(stream->Next(), IsOkAndHolds(::testing::Eq(std::nullopt)));
}

TEST_P(EpochSourceConformance, SelectsLevelsAndEncoding) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.selection.levels = {4};
  request.selection.pixels = false;
  request.selection.encoding = Selection::Encoding::kF32;
  for (const EpochFrame& frame : ReadAll(request)) {
    ASSERT_EQ(frame.state, RecordState::kOk);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(frame.block.bytes));
    EXPECT_THAT(block.levels(), ::testing::ElementsAre(4));
    EXPECT_FALSE(block.has_pixels());
    EXPECT_EQ(block.codec(), Codec::kF32);
    const std::string stored = MakeSyntheticBlock(description_, frame.key);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock whole, FeatureBlock::Parse(AsBytes(stored)));
    EXPECT_EQ(frame.record_digest, whole.record_digest());
  }
}

TEST_P(EpochSourceConformance, TranscodesWithTheProfileOfTheSet) {
  Fill(MakeSyntheticDescription({.codec = Codec::kEzq16}));
  const FeatureProfile profile = MakeSyntheticProfile(description_);
  EpochRequest request = Request();
  request.selection.encoding = Selection::Encoding::kI8x;
  for (const EpochFrame& frame : ReadAll(request)) {
    ASSERT_EQ(frame.state, RecordState::kOk) << frame.reason;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block,
                                    FeatureBlock::Parse(frame.block.bytes, &profile));
    EXPECT_EQ(block.codec(), Codec::kI8x);
    const FeatureRecord stored = MakeSyntheticRecord(description_, frame.key);
    std::vector<float> values(stored.levels[0].values.size());
    AFTERIMAGE_ASSERT_OK(block.ReadLevel(3, {}, values));
    for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], stored.levels[0].values[i], 0.15);
  }
  Fill(MakeSyntheticDescription());
  request = Request();
  request.selection.encoding = Selection::Encoding::kI4x;
  EXPECT_THAT(source_->Open(request).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("names no profile")));
}

TEST_P(EpochSourceConformance, MasksAreDrawnFromTheImportanceOfAnAllSet) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.order.mask = {.num_visible = 6, .mask_seed = 11};
  request.selection.tokens = Selection::Tokens::kMask;
  request.epoch = 3;  // view seed 1, mask index 1
  const std::vector<EpochFrame> frames = ReadAll(request);
  ASSERT_EQ(frames.size(), 2 * kBatch);
  for (const EpochFrame& frame : frames) {
    ASSERT_EQ(frame.state, RecordState::kOk) << frame.reason;
    EXPECT_EQ(frame.mask_index, 1u);
    const FeatureRecord record = MakeSyntheticRecord(description_, frame.key);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<uint16_t> mask,
                                    DrawMask(request.order.mask, frame.key.image, 1, 1, record.importance));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(frame.block.bytes));
    EXPECT_THAT(block.Mask(0), IsOkAndHolds(mask));
    EXPECT_EQ(block.num_tokens(), 7u);
  }
}

TEST_P(EpochSourceConformance, MasksOfAVisibleSetAreThoseStored) {
  Fill(MakeSyntheticDescription(
      {.token_policy = TokenPolicy::kVisible, .mask = {.num_visible = 5, .num_masks = 2}}));
  EpochRequest request = Request();
  request.selection.tokens = Selection::Tokens::kMask;
  for (const uint64_t epoch : {0, 2, 4, 6}) {
    request.epoch = epoch;
    for (const EpochFrame& frame : ReadAll(request)) {
      ASSERT_EQ(frame.state, RecordState::kOk) << frame.reason;
      EXPECT_EQ(frame.mask_index, epoch / 2 % 2);
      const std::string stored = MakeSyntheticBlock(description_, frame.key);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock whole, FeatureBlock::Parse(AsBytes(stored)));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(frame.block.bytes));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<uint16_t> mask, whole.Mask(frame.mask_index));
      EXPECT_THAT(block.Mask(0), IsOkAndHolds(mask));
    }
  }
}

TEST_P(EpochSourceConformance, StatesAreInBand) {
  const RecordKey failed{SyntheticImageKey(4), 0};
  Fill(MakeSyntheticDescription(), [&](const RecordKey& key) { return key.image == failed.image; });
  const RecordKey damaged{SyntheticImageKey(9), 0};
  ASSERT_THAT(cache_.DamageForTest(description_.set.Id(), damaged), IsOk());
  const std::vector<EpochFrame> frames = ReadAll(Request(OrderSpec::Tail::kPad));
  ASSERT_EQ(frames.size(), 3 * kBatch);
  int num_failed = 0, num_damaged = 0;
  for (const EpochFrame& frame : frames) {
    if (frame.key == failed) {
      ++num_failed;
      EXPECT_EQ(frame.state, RecordState::kFailed);
      EXPECT_THAT(frame.reason, ::testing::HasSubstr(kSyntheticFailureReason));
    } else if (frame.key == damaged) {
      ++num_damaged;
      EXPECT_EQ(frame.state, RecordState::kDamaged);
      EXPECT_THAT(frame.reason, ::testing::HasSubstr(damaged.ToString()));
    } else {
      EXPECT_EQ(frame.state, RecordState::kOk);
      continue;
    }
    EXPECT_EQ(frame.record_digest, Digest128());
    EXPECT_TRUE(frame.block.bytes.empty());
  }
  EXPECT_GE(num_failed, 1);
  EXPECT_GE(num_damaged, 1);
}

TEST_P(EpochSourceConformance, ViewSeedsThatWereNotComputedAreMissing) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.order.num_view_seeds = kNumViewSeeds + 1;
  request.epoch = kNumViewSeeds;
  const std::vector<EpochFrame> frames = ReadAll(request);
  ASSERT_EQ(frames.size(), 2 * kBatch);
  for (const EpochFrame& frame : frames) {
    EXPECT_EQ(frame.state, RecordState::kMissing);
    EXPECT_EQ(frame.key.view_seed, kNumViewSeeds);
  }
}

TEST_P(EpochSourceConformance, EachOpenSeesWhatHasBeenPublishedBefore) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.order.num_view_seeds = 0;  // epoch e uses view seed e
  request.epoch = kNumViewSeeds;
  EXPECT_EQ(ReadAll(request).front().state, RecordState::kMissing);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  cache_.OpenSet(description_.set.Id(), OpenMode::kContribute));
  ASSERT_THAT(FillSet(set, manifest_.digest(), kNumViewSeeds + 1), IsOk());
  const uint64_t num_refreshes = catalog_.observer().num_refreshes;
  EXPECT_EQ(ReadAll(request).front().state, RecordState::kOk);
  EXPECT_GT(catalog_.observer().num_refreshes, num_refreshes);
}

TEST_P(EpochSourceConformance, ReadsAheadOnlyAsFarAsTheCreditGoes) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  const uint64_t frame_bytes =
      MakeSyntheticBlock(description_, KeyAt(request, 0)).size() + kFrameOverheadBytes;
  request.credit_bytes = 6 * frame_bytes;
  ASSERT_GE(request.credit_bytes, LargestFrameBytes(description_, request.selection));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, source_->Open(request));
  EXPECT_LE(SettledReads(), 6u);
  // Without credit given back, each Next is worth one frame and nothing is read ahead any more.
  for (uint64_t i = 0; i < 10; ++i) EXPECT_THAT(stream->Next(), IsOk());
  EXPECT_LE(SettledReads(), 11u);
  for (uint64_t i = 10; i < 2 * kBatch; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->position, i);
  }
  EXPECT_THAT(stream->Next(), IsOkAndHolds(::testing::Eq(std::nullopt)));
}

TEST_P(EpochSourceConformance, TheSmallestCreditStillReadsTheWholeEpoch) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.credit_bytes = LargestFrameBytes(description_, request.selection);
  EXPECT_EQ(ReadAll(request).size(), 2 * kBatch);
}

TEST_P(EpochSourceConformance, NoFrameCostsMoreThanTheLargest) {
  for (const Codec codec : kAllCodecs) {
    for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
      Fill(MakeSyntheticDescription(
          {.token_policy = policy, .mask = {.num_visible = 5, .num_masks = 2}, .codec = codec}));
      for (const Selection::Tokens tokens : {Selection::Tokens::kStored, Selection::Tokens::kMask}) {
        EpochRequest request = Request();
        request.selection.tokens = tokens;
        const uint64_t largest = LargestFrameBytes(description_, request.selection);
        for (const EpochFrame& frame : ReadAll(request)) EXPECT_LE(frame.CostBytes(), largest);
      }
    }
  }
}

TEST_P(EpochSourceConformance, CancelWakesAWaitingConsumer) {
  Fill(MakeSyntheticDescription());
  // Shared with the observer: a server's threads may outlive this body.
  const auto released = std::make_shared<std::atomic<bool>>(false);
  catalog_.observer().before_record = [released](const RecordKey&) {
    while (!*released) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, source_->Open(Request()));
  std::thread canceller([&] {
    absl::SleepFor(absl::Milliseconds(50));
    stream->Cancel();
    *released = true;
  });
  absl::StatusOr<std::optional<EpochFrame>> frame = stream->Next();
  canceller.join();
  // A source that reads in the caller's thread may finish the record at hand.
  if (frame.ok()) frame = stream->Next();
  EXPECT_THAT(frame, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kCancelled));
}

TEST_P(EpochSourceConformance, AStreamCanBeDroppedAtAnyPoint) {
  Fill(MakeSyntheticDescription());
  for (int num_frames = 0; num_frames < 12; ++num_frames) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, source_->Open(Request()));
    for (int i = 0; i < num_frames; ++i) ASSERT_THAT(stream->Next(), IsOk());
  }
  EXPECT_EQ(ReadAll(Request()).size(), 2 * kBatch);
}

TEST_P(EpochSourceConformance, AStoreThatGoesAwayEndsTheStreamAtThatFrame) {
  Fill(MakeSyntheticDescription());
  const EpochRequest request = Request();
  const RecordKey gone = KeyAt(request, 11);
  catalog_.observer().before_record = [gone](const RecordKey& key) {
    return key == gone ? absl::UnavailableError("the disk has gone") : absl::OkStatus();
  };
  // A picture that comes twice would end the stream at its first place.
  uint64_t first = 0;
  while (KeyAt(request, first) != gone) ++first;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, source_->Open(request));
  for (uint64_t i = 0; i < first; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
    EXPECT_EQ(frame->position, i);
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(stream->Next(),
                StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("the disk has gone")));
  }
}

TEST_P(EpochSourceConformance, StreamsAreIndependent) {
  Fill(MakeSyntheticDescription());
  const std::vector<EpochFrame> expected = ReadAll(Request());
  std::vector<std::thread> consumers;
  for (int i = 0; i < 4; ++i) {
    consumers.emplace_back([&] {
      const std::vector<EpochFrame> frames = ReadAll(Request());
      ASSERT_EQ(frames.size(), expected.size());
      for (size_t j = 0; j < frames.size(); ++j)
        EXPECT_EQ(frames[j].record_digest, expected[j].record_digest);
    });
  }
  for (std::thread& consumer : consumers) consumer.join();
}

TEST_P(EpochSourceConformance, RefusesAnOrderOfAnotherManifestAndTellsBoth) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  const Manifest other = MakeSyntheticManifest(3);
  request.order.manifest = other.digest();
  request.order.num_occurrences = 3;
  request.global_batch = 1;
  EXPECT_THAT(source_->Open(request).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(::testing::HasSubstr(other.digest().Hex()),
                                        ::testing::HasSubstr(manifest_.digest().Hex()))));
  request = Request();
  request.order.num_occurrences = 999;
  EXPECT_THAT(source_->Open(request).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(::testing::HasSubstr("999"), ::testing::HasSubstr("has 23"))));
  EXPECT_EQ(catalog_.observer().num_reads, 0u);
}

TEST_P(EpochSourceConformance, RefusesMasksThatAVisibleSetDoesNotStore) {
  Fill(MakeSyntheticDescription(
      {.token_policy = TokenPolicy::kVisible, .mask = {.num_visible = 5, .mask_seed = 3}}));
  EpochRequest request = Request();
  request.order.mask.mask_seed = 4;
  EXPECT_THAT(source_->Open(request).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(::testing::HasSubstr("\"mask_seed\":4"),
                                        ::testing::HasSubstr("\"mask_seed\":3"))));
}

TEST_P(EpochSourceConformance, RefusesAnUnknownSet) {
  Fill(MakeSyntheticDescription());
  EpochRequest request = Request();
  request.set_id = Sha256({});
  EXPECT_THAT(source_->Open(request).status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(source_->Open(Request()).status(), IsOk());  // the failure is not remembered
}

TEST_P(EpochSourceConformance, RefusesBadRequestsAndTellsTheLimit) {
  Fill(MakeSyntheticDescription());
  const auto expect_refused = [&](const std::function<void(EpochRequest&)>& change, const std::string& text) {
    EpochRequest request = Request();
    change(request);
    EXPECT_THAT(source_->Open(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr(text)));
  };
  expect_refused([](EpochRequest& request) { request.step_end = 3; }, "the epoch has 2 steps");
  expect_refused([](EpochRequest& request) { request.step_begin = 3; }, "the epoch has 2 steps");
  expect_refused([](EpochRequest& request) { request.step_begin = 2, request.step_end = 1; }, "steps 2..1");
  expect_refused([](EpochRequest& request) { request.global_batch = 0; }, "global batch is 0");
  expect_refused([](EpochRequest& request) { request.global_batch = kMaxGlobalBatch + 1; },
                 std::to_string(kMaxGlobalBatch));
  expect_refused([](EpochRequest& request) { request.global_batch = 24; }, "more than the 23 occurrences");
  expect_refused([](EpochRequest& request) { request.slice = {2, 2}; }, "rank 2 of 2");
  expect_refused([](EpochRequest& request) { request.slice = {0, 0}; }, "rank 0 of 0");
  expect_refused(
      [](EpochRequest& request) {
        request.slice = {0, 9};
      },
      "9 ranks cannot share a global batch of 8");
  expect_refused([](EpochRequest& request) { request.selection.levels = {2}; }, "level 2");
  expect_refused([](EpochRequest& request) { request.credit_bytes = 1500; }, "below the largest frame");
  expect_refused([](EpochRequest& request) { request.epoch = uint64_t{1} << 32; }, "the limit is 4294967295");
  expect_refused(
      [](EpochRequest& request) {
        request.selection.tokens = Selection::Tokens::kMask;
        request.order.mask.num_visible = 17;
      },
      "a view has 16");
  EXPECT_EQ(catalog_.observer().num_reads, 0u);
}

}  // namespace afterimage::testing
