#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/order/epoch_reader.h"
#include "core/order/in_memory_epoch_source.h"
#include "tests/conformance/epoch_positions_conformance.h"
#include "tests/conformance/epoch_source_conformance.h"

namespace afterimage::testing {
namespace {

EpochSourceFactory MakeReader(const EpochReader::Options& options) {
  return [options](FeatureCatalog* catalog) { return std::make_unique<EpochReader>(catalog, options); };
}

INSTANTIATE_TEST_SUITE_P(InMemory, EpochSourceConformance, ::testing::Values([](FeatureCatalog* catalog) {
                           return std::make_unique<InMemoryEpochSource>(catalog);
                         }));
INSTANTIATE_TEST_SUITE_P(Reader, EpochSourceConformance,
                         ::testing::Values(MakeReader({}), MakeReader({.num_threads = 0}), MakeReader({.num_threads = 8}),
                                           MakeReader({.num_threads = 3, .max_slots = 1})));

class EpochReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const Manifest manifest = MakeSyntheticManifest(200);
    ASSERT_THAT(cache_.PutManifest(manifest), IsOk());
    ASSERT_THAT(cache_.CreateSet(description_), IsOk());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, cache_.OpenSet(description_.set.Id(), OpenMode::kContribute));
    ASSERT_THAT(FillSet(set, manifest.digest(), 1), IsOk());
    request_.set_id = description_.set.Id();
    request_.order.manifest = manifest.digest();
    request_.order.num_occurrences = manifest.num_occurrences();
    request_.global_batch = 10;
  }

  InMemoryFeatureCatalog cache_;
  ObservedCatalog catalog_{&cache_};
  const SetDescription description_ = MakeSyntheticDescription();
  EpochRequest request_;
};

// Waits for at most ten seconds.
template <typename Condition>
bool Eventually(const Condition& condition) {
  for (int i = 0; i < 10000; ++i) {
    if (condition()) return true;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return false;
}

// Of a set of all tokens, whose masks the order draws.
TEST(ValidateEpochRequestTest, MasksFromTheAttentionOfATeacherWithoutImportanceAreRefused) {
  SetDescription description = MakeSyntheticDescription({.token_policy = TokenPolicy::kAll});
  const Manifest manifest = MakeSyntheticManifest(20);
  EpochRequest request;
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = manifest.num_occurrences();
  request.order.mask.num_visible = 2;
  request.global_batch = 10;
  request.selection.tokens = Selection::Tokens::kMask;
  description.feature.teacher["importance"] = kNoImportance;
  description.set.feature_id = description.feature.Id();
  request.set_id = description.set.Id();
  EXPECT_THAT(ValidateEpochRequest(request, description, manifest),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("--mask-type random")));
  request.order.mask.type = MaskSpec::Type::kRandom;
  EXPECT_THAT(ValidateEpochRequest(request, description, manifest).status(), IsOk());
}

TEST_F(EpochReaderTest, ReadsAheadBeforeItIsAsked) {
  EpochReader reader(&catalog_, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  EXPECT_TRUE(Eventually([&] { return catalog_.observer().num_reads == 200; }));
}

TEST_F(EpochReaderTest, ReadsAheadAtMostMaxSlots) {
  EpochReader reader(&catalog_, {.num_threads = 4, .max_slots = 13});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  EXPECT_TRUE(Eventually([&] { return catalog_.observer().num_reads == 13; }));
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(catalog_.observer().num_reads, 13u);
  ASSERT_THAT(stream->Next(), IsOk());
  EXPECT_TRUE(Eventually([&] { return catalog_.observer().num_reads == 14; }));
}

TEST_F(EpochReaderTest, CreditReturnedLetsItReadOn) {
  request_.credit_bytes = 5 * LargestFrameBytes(description_, request_.selection);
  EpochReader reader(&catalog_, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  EXPECT_TRUE(Eventually([&] { return catalog_.observer().num_reads >= 5; }));
  absl::SleepFor(absl::Milliseconds(50));
  const uint64_t ahead = catalog_.observer().num_reads;
  EXPECT_LT(ahead, 12u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::optional<EpochFrame> frame, stream->Next());
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(catalog_.observer().num_reads, ahead);  // the frame still counts
  stream->ReturnCredit(frame->CostBytes());
  EXPECT_TRUE(Eventually([&] { return catalog_.observer().num_reads == ahead + 1; }));
  // More than was taken gives no more than all.
  stream->ReturnCredit(uint64_t{1} << 40);
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_EQ(catalog_.observer().num_reads, ahead + 1);
}

// Of records of 100 KB, so that a window is a part of the epoch.
TEST(EpochReaderWindowTest, DoublesWhenNextHasTakenAllOfItBeforeMoreWasRead) {
  const SetDescription description = MakeSyntheticDescription({.view_size = 192});
  const Manifest manifest = MakeSyntheticManifest(200);
  InMemoryFeatureCatalog cache;
  AFTERIMAGE_ASSERT_OK(cache.PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK(cache.CreateSet(description).status());
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, cache.OpenSet(description.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 1));
  }
  ObservedCatalog catalog(&cache);
  std::atomic<bool> is_held = false;
  std::atomic<int> num_held = 0;
  catalog.observer().before_record = [&](const RecordKey&) {
    num_held += is_held;
    while (is_held) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  EpochRequest request{.set_id = description.set.Id(), .global_batch = 10, .credit_bytes = 1 << 30};
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = manifest.num_occurrences();

  EpochReader reader(&catalog, {.num_threads = 2});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request));
  const auto num_reads = [&] { return catalog.observer().num_reads.load(); };
  const uint64_t at_least = (4 << 20) / LargestFrameBytes(description, request.selection);
  ASSERT_TRUE(Eventually([&] { return num_reads() >= at_least; }));
  absl::SleepFor(absl::Milliseconds(50));
  const uint64_t window = num_reads();
  ASSERT_LE(window, at_least + 2);
  is_held = true;
  for (uint64_t i = 0; i < window; ++i) ASSERT_THAT(stream->Next(), IsOk());
  ASSERT_TRUE(Eventually([&] { return num_held == 2; }));
  std::thread releases([&] {
    absl::SleepFor(absl::Milliseconds(50));  // until Next waits
    is_held = false;
  });
  ASSERT_THAT(stream->Next(), IsOk());
  releases.join();
  EXPECT_TRUE(Eventually([&] { return num_reads() >= window + 1 + 2 * window - 2; }));
  absl::SleepFor(absl::Milliseconds(50));
  EXPECT_LE(num_reads(), window + 1 + 2 * window + 2);
}

TEST_F(EpochReaderTest, SeveralThreadsReadAtOnceAndTheOneInsideNextIsOneOfThem) {
  request_.credit_bytes = 1 << 30;
  std::atomic<int> num_inside = 0;
  std::atomic<int> most_inside = 0;
  catalog_.observer().before_record = [&](const RecordKey&) {
    const int inside = ++num_inside;
    for (int most = most_inside; inside > most && !most_inside.compare_exchange_weak(most, inside);) {
    }
    Eventually([&] { return most_inside >= 3; });
    --num_inside;
    return absl::OkStatus();
  };
  EpochReader reader(&catalog_, {.num_threads = 2});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  EXPECT_THAT(stream->Next(), IsOk());
  EXPECT_EQ(most_inside, 3);
}

TEST_F(EpochReaderTest, WithoutThreadsNextReadsAll) {
  std::vector<std::thread::id> readers;
  catalog_.observer().before_record = [&](const RecordKey&) {
    readers.push_back(std::this_thread::get_id());
    return absl::OkStatus();
  };
  EpochReader reader(&catalog_, {.num_threads = 0});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  for (int i = 0; i < 200; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> end, stream->Next());
  EXPECT_FALSE(end.has_value());
  EXPECT_EQ(readers, std::vector<std::thread::id>(200, std::this_thread::get_id()));
}

// Every look at it takes five milliseconds.
class TickingClock {
 public:
  std::function<absl::Time()> Reader() {
    return [this] {
      ++num_looks_;
      return Advance(absl::Milliseconds(5));
    };
  }
  absl::Time Advance(absl::Duration time) {
    return absl::UnixEpoch() + absl::Nanoseconds(nanoseconds_ += absl::ToInt64Nanoseconds(time));
  }
  int num_looks() const { return num_looks_; }

 private:
  std::atomic<int64_t> nanoseconds_ = 0;
  std::atomic<int> num_looks_ = 0;
};

TEST_F(EpochReaderTest, AFrameSaysThatItWasWaitedForTheDisk) {
  TickingClock clock;
  std::atomic<int> num_records = 0;
  catalog_.observer().before_record = [&](const RecordKey&) {
    if (num_records++ == 0) {
      Eventually([&] { return clock.num_looks() > 0; });  // Next waits
      clock.Advance(absl::Milliseconds(80));
    }
    return absl::OkStatus();
  };
  // With one slot Next finds nothing to read itself.
  EpochReader reader(&catalog_, {.num_threads = 1, .max_slots = 1, .now = clock.Reader()});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  Eventually([&] { return num_records > 0; });
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
  // Begin, end of the read, end of the wait: two ticks between them.
  EXPECT_EQ(frame->waited[StallPart::kDisk], absl::Milliseconds(85));
  EXPECT_EQ(frame->waited[StallPart::kQueue], absl::Milliseconds(5));
  EXPECT_EQ(frame->waited.Total(), absl::Milliseconds(90));
  EXPECT_FALSE(frame->server.has_value());
}

TEST_F(EpochReaderTest, WhatNextReadsItselfIsTheDisks) {
  TickingClock clock;
  catalog_.observer().before_record = [&](const RecordKey&) {
    clock.Advance(absl::Milliseconds(80));
    return absl::OkStatus();
  };
  // The first frame takes all the credit and keeps it, so the second one may be read only when it is asked for.
  request_.credit_bytes = LargestFrameBytes(description_, request_.selection);
  EpochReader reader(&catalog_, {.num_threads = 1, .now = clock.Reader()});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  ASSERT_THAT(stream->Next(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
  // It begins to wait, to read; has read, is done with reading, with waiting: four ticks.
  EXPECT_EQ(frame->waited[StallPart::kDisk], absl::Milliseconds(90));
  EXPECT_EQ(frame->waited[StallPart::kQueue], absl::Milliseconds(10));
}

TEST_F(EpochReaderTest, NoClockIsReadWhereAFrameIsReady) {
  TickingClock clock;
  EpochReader reader(&catalog_, {.now = clock.Reader()});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader.Open(request_));
  ASSERT_TRUE(Eventually([&] { return catalog_.observer().num_reads == 200; }));
  for (int i = 0; i < 150; ++i) {  // of the last few, each thread may still be putting one into the ring
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    EXPECT_EQ(frame->waited.Total(), absl::ZeroDuration());
    stream->ReturnCredit(frame->CostBytes());
  }
  EXPECT_EQ(clock.num_looks(), 0);
}

TEST_F(EpochReaderTest, AStreamOutlivesItsReader) {
  auto reader = std::make_unique<EpochReader>(&catalog_, EpochReader::Options{});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<EpochStream> stream, reader->Open(request_));
  reader.reset();
  for (int i = 0; i < 200; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
  }
}

}  // namespace
}  // namespace afterimage::testing
