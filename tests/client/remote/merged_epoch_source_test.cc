// Several servers, here sources in this process: what they send together is what one sends alone.
#include "client/remote/merged_epoch_source.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/remote/merged_catalog.h"
#include "client/remote/merged_store.h"
#include "core/base/status_macros.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_reader.h"
#include "tests/conformance/epoch_source_conformance.h"

namespace afterimage::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Someone else's catalog, without owning it.
template <typename T>
std::shared_ptr<T> NotOwned(T* pointer) {
  return std::shared_ptr<T>(pointer, [](T*) {});
}

ServerGroup::Entry EntryOf(const std::string& address, FeatureCatalog* catalog,
                           std::shared_ptr<EpochSource> epochs) {
  return {address, [catalog, epochs]() -> absl::StatusOr<ServerGroup::Server> {
            return ServerGroup::Server{NotOwned(catalog), epochs, nullptr};
          }};
}

std::unique_ptr<EpochSource> MakeMerged(FeatureCatalog* catalog, int num_servers) {
  std::vector<ServerGroup::Entry> entries;
  for (int i = 0; i < num_servers; ++i) {
    entries.push_back(EntryOf(absl::StrCat("server ", i), catalog,
                              std::make_shared<EpochReader>(catalog, EpochReader::Options())));
  }
  return std::make_unique<MergedEpochSource>(std::make_shared<ServerGroup>(std::move(entries)),
                                             MergedEpochSource::Options());
}

INSTANTIATE_TEST_SUITE_P(Merged, EpochSourceConformance,
                         ::testing::Values([](FeatureCatalog* catalog) { return MakeMerged(catalog, 1); },
                                           [](FeatureCatalog* catalog) { return MakeMerged(catalog, 3); },
                                           [](FeatureCatalog* catalog) { return MakeMerged(catalog, 16); }));

// What may go wrong with a server.
struct Trouble {
  std::atomic<int64_t> frames_until_gone = int64_t{1} << 40;  // then Unavailable, and Open too
  std::atomic<bool> hangs = false;                            // Next waits for Cancel
  std::atomic<int64_t> delay_us = 0;                          // of each frame
  std::atomic<uint64_t> frames = 0;                           // that it has sent
  std::atomic<bool> held_up = false;                          // says so
  StallTimes waited;                                          // says so with each frame
};

class TroubledStream : public EpochStream {
 public:
  TroubledStream(std::unique_ptr<EpochStream> stream, std::shared_ptr<Trouble> trouble)
      : stream_(std::move(stream)), trouble_(std::move(trouble)) {}

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    while (trouble_->hangs && !cancelled_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (trouble_->frames_until_gone-- <= 0) return absl::UnavailableError("gone");
    std::this_thread::sleep_for(std::chrono::microseconds(trouble_->delay_us));
    ++trouble_->frames;
    absl::StatusOr<std::optional<EpochFrame>> frame = stream_->Next();
    if (frame.ok() && frame->has_value()) (*frame)->waited = trouble_->waited;
    return frame;
  }
  bool IsHeldUp() const override { return trouble_->held_up; }
  void ReturnCredit(uint64_t bytes) override { stream_->ReturnCredit(bytes); }
  void Cancel() override {
    cancelled_ = true;
    stream_->Cancel();
  }

 private:
  const std::unique_ptr<EpochStream> stream_;
  const std::shared_ptr<Trouble> trouble_;
  std::atomic<bool> cancelled_ = false;
};

class TroubledSource : public EpochSource {
 public:
  TroubledSource(FeatureCatalog* catalog, std::shared_ptr<Trouble> trouble)
      : reader_(catalog, {}), trouble_(std::move(trouble)) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    if (trouble_->frames_until_gone <= 0) return absl::UnavailableError("gone");
    AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<EpochStream> stream, reader_.Open(request));
    return std::make_unique<TroubledStream>(std::move(stream), trouble_);
  }

 private:
  EpochReader reader_;
  const std::shared_ptr<Trouble> trouble_;
};

class MergedEpochSourceTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kNumPictures = 96;
  static constexpr int kNumServers = 3;

  void SetUp() override {
    for (int i = 0; i < kNumServers; ++i) {
      PrepareCatalog(catalogs_[i]);
      trouble_.push_back(std::make_shared<Trouble>());
    }
    PrepareCatalog(whole_);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    whole_.OpenSet(description_.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
    request_.set_id = description_.set.Id();
    request_.order.manifest = manifest_.digest();
    request_.order.num_occurrences = kNumPictures;
    request_.order.order_seed = 3;
    request_.order.mask.num_visible = 5;
    request_.global_batch = 12;
    request_.credit_bytes = 256 << 10;
    request_.selection.tokens = Selection::Tokens::kMask;
  }

  void PrepareCatalog(InMemoryFeatureCatalog& catalog) const {
    EXPECT_THAT(catalog.CreateSet(description_), IsOk());
    EXPECT_THAT(catalog.PutManifest(manifest_), IsOk());
  }
  void FillAll() {
    for (InMemoryFeatureCatalog& catalog : catalogs_) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                      catalog.OpenSet(description_.set.Id(), OpenMode::kContribute));
      AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
    }
  }
  // Unit u of the set only on server u mod n.
  void FillParts() {
    for (int i = 0; i < kNumServers; ++i) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                      catalogs_[i].OpenSet(description_.set.Id(), OpenMode::kContribute));
      ClaimRequest claim;
      claim.manifest = manifest_.digest();
      claim.num_view_seeds = 1;
      claim.worker = "w";
      claim.max_units = 100;
      claim.lease_duration = absl::Minutes(10);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result, set.ledger->Claim(claim));
      ASSERT_GE(result.units.size(), kNumServers);
      for (size_t u = i; u < result.units.size(); u += kNumServers)
        AFTERIMAGE_ASSERT_OK(PublishClaimed(set, result.units[u]));
    }
  }

  std::shared_ptr<ServerGroup> Group() {
    std::vector<ServerGroup::Entry> entries;
    for (int i = 0; i < kNumServers; ++i) {
      entries.push_back(EntryOf(absl::StrCat("server-", i), &catalogs_[i],
                                std::make_shared<TroubledSource>(&catalogs_[i], trouble_[i])));
    }
    return std::make_shared<ServerGroup>(std::move(entries));
  }
  std::unique_ptr<MergedEpochSource> Merged(MergedEpochSource::Options options = {}) {
    options.message = [this](const std::string& text) {
      std::lock_guard lock(mutex_);
      absl::StrAppend(&messages_, text, "\n");
    };
    return std::make_unique<MergedEpochSource>(Group(), options);
  }

  // Positions, keys and states must be in order; returns the running digest.
  std::string DigestOf(EpochSource& source, const EpochRequest& request) {
    absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(request);
    EXPECT_THAT(stream, IsOk());
    if (!stream.ok()) return "";
    std::vector<StepSum> sums(StepsPerEpoch(request.order, request.global_batch));
    uint64_t position = 0;
    while (true) {
      absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      EXPECT_THAT(frame, IsOk());
      if (!frame.ok() || !frame->has_value()) break;
      EXPECT_EQ((*frame)->position, position++);
      sums.at((*frame)->step)
          .Add(SampleSum((*frame)->position, (*frame)->key, (*frame)->mask_index, (*frame)->state,
                         (*frame)->record_digest));
      (*stream)->ReturnCredit((*frame)->CostBytes());
    }
    EXPECT_EQ(position, sums.size() * request.global_batch);
    Digest128 digest = EpochStartDigest(request.set_id, request.order.Id(), request.epoch);
    for (uint64_t step = 0; step < sums.size(); ++step) digest = AdvanceDigest(digest, step, sums[step]);
    return digest.Hex();
  }
  std::string WantedDigest() {
    EpochReader reader(&whole_, {});
    return DigestOf(reader, request_);
  }
  std::string messages() {
    std::lock_guard lock(mutex_);
    return messages_;
  }

  const SetDescription description_ =
      MakeSyntheticDescription({.layout = {.num_shards = 6, .seeds_per_unit = 1}});
  const Manifest manifest_ = MakeSyntheticManifest(kNumPictures);
  InMemoryFeatureCatalog whole_;
  InMemoryFeatureCatalog catalogs_[kNumServers];
  std::vector<std::shared_ptr<Trouble>> trouble_;
  EpochRequest request_;
  std::mutex mutex_;
  std::string messages_;
};

TEST_F(MergedEpochSourceTest, ThreeServersSendWhatOneSendsAndShareTheWork) {
  FillAll();
  const auto merged = Merged();
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  for (const auto& trouble : trouble_) EXPECT_EQ(trouble->frames, kNumPictures / kNumServers);
  EXPECT_THAT(messages(), IsEmpty());
}

TEST_F(MergedEpochSourceTest, EachServerHoldsAPartOfTheSet) {
  FillParts();
  const auto merged = Merged();
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());

  MergedCatalog catalog(Group());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<SetSummary> sets, catalog.ListSets());
  ASSERT_EQ(sets.size(), 1);
  EXPECT_EQ(sets[0].num_view_seeds, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set, catalog.OpenSet(sets[0].id, OpenMode::kRead));
  for (const ImageKey& key : manifest_.keys()) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PinnedBytes bytes, ReadOne(*set.store, {key, 0}));
    EXPECT_EQ(std::string(bytes.bytes.begin(), bytes.bytes.end()),
              MakeSyntheticBlock(description_, {key, 0}));
  }
  EXPECT_THAT(ReadOne(*set.store, {manifest_.keys()[0], 1}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
}

TEST_F(MergedEpochSourceTest, ADamagedRecordComesFromAnotherServer) {
  FillAll();
  for (size_t i = 0; i < manifest_.keys().size(); i += 7) {
    ASSERT_THAT(catalogs_[i % kNumServers].DamageForTest(description_.set.Id(), {manifest_.keys()[i], 0}),
                IsOk());
  }
  const auto merged = Merged();
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
}

TEST_F(MergedEpochSourceTest, WhatNoServerHasIsMissingOnlyWhenAllHaveSaidSo) {
  FillAll();
  request_.order.num_view_seeds = 2;
  request_.epoch = 1;  // seed 1, which none has
  const auto merged = Merged();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, merged->Open(request_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
  EXPECT_EQ(frame->state, RecordState::kMissing);

  std::vector<ServerGroup::Entry> entries = {
      EntryOf("a", &catalogs_[0], std::make_shared<EpochReader>(&catalogs_[0], EpochReader::Options())),
      {"b", [] { return absl::StatusOr<ServerGroup::Server>(absl::UnavailableError("b is down")); }}};
  MergedEpochSource with_one_down(std::make_shared<ServerGroup>(std::move(entries)), {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(stream, with_one_down.Open(request_));
  EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("b is down")));
}

TEST_F(MergedEpochSourceTest, OneThatGoesAwayAnywhereIsReplacedWithoutAChangeOfOrder) {
  FillAll();
  const std::string wanted = WantedDigest();
  for (const int64_t frames : {0, 1, 5, 17, 31}) {
    SCOPED_TRACE(frames);
    trouble_[1]->frames_until_gone = frames;
    const auto merged = Merged();
    EXPECT_EQ(DigestOf(*merged, request_), wanted);
    if (frames > 0) {
      EXPECT_THAT(messages(), HasSubstr("should have sent (gone)"));
    }
    // And two of three.
    trouble_[2]->frames_until_gone = frames;
    EXPECT_EQ(DigestOf(*merged, request_), wanted);
    trouble_[1]->frames_until_gone = trouble_[2]->frames_until_gone = int64_t{1} << 40;
  }
}

TEST_F(MergedEpochSourceTest, WhenAllAreAwayTheCallerWaitsAndReadsOnAtItsStep) {
  FillAll();
  const auto merged = Merged();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, merged->Open(request_));
  for (int i = 0; i < 30; ++i) EXPECT_THAT(stream->Next(), IsOk());
  for (const auto& trouble : trouble_) trouble->frames_until_gone = 0;
  absl::Status status;
  while (status.ok()) status = stream->Next().status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("gone")));
  EXPECT_THAT(merged->Open(request_), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("gone")));
  for (const auto& trouble : trouble_) trouble->frames_until_gone = int64_t{1} << 40;
  request_.step_begin = 2;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(stream, merged->Open(request_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
  EXPECT_EQ(frame->position, 24);
}

TEST_F(MergedEpochSourceTest, OneThatHangsIsLeftAfterTheReadersPatience) {
  FillAll();
  trouble_[2]->hangs = true;
  const auto merged = Merged({.patience = absl::Milliseconds(300)});
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_THAT(messages(), AllOf(HasSubstr("server-2"), HasSubstr("has sent nothing for 300ms")));
}

TEST_F(MergedEpochSourceTest, OneThatIsSlowDoesNotSlowTheRun) {
  FillAll();
  trouble_[0]->delay_us = 10'000;
  const auto merged = Merged({.pace = {.window = absl::Milliseconds(100)}});
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_THAT(messages(), AllOf(HasSubstr("server-0"), HasSubstr("too slowly")));
  const uint64_t sent = trouble_[0]->frames;
  EXPECT_LT(sent, kNumPictures / kNumServers);
  // The next epoch knows it.
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_EQ(trouble_[0]->frames, sent);
}

TEST_F(MergedEpochSourceTest, ASlowServerIsGivenAnotherChance) {
  FillAll();
  trouble_[0]->delay_us = 10'000;
  const auto merged =
      Merged({.pace = {.window = absl::Milliseconds(100), .slow_for = absl::Milliseconds(200)}});
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  const uint64_t sent = trouble_[0]->frames;
  trouble_[0]->delay_us = 0;
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_EQ(trouble_[0]->frames, sent + kNumPictures / kNumServers);
}

TEST_F(MergedEpochSourceTest, ServersThatAreAllSlowAreNotReplaced) {
  FillAll();
  for (const auto& trouble : trouble_) trouble->delay_us = 3'000;
  const auto merged = Merged({.pace = {.window = absl::Milliseconds(50)}});
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  EXPECT_THAT(messages(), IsEmpty());
}

TEST_F(MergedEpochSourceTest, RanksOfAnyNumberReadTheSameEpoch) {
  FillAll();
  const auto merged = Merged();
  for (const uint32_t num_ranks : {1, 2, 5, 12}) {
    std::vector<uint64_t> positions;
    for (uint32_t rank = 0; rank < num_ranks; ++rank) {
      EpochRequest request = request_;
      request.slice = {rank, num_ranks};
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request));
      while (true) {
        AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
        if (!frame.has_value()) break;
        positions.push_back(frame->position);
        stream->ReturnCredit(frame->CostBytes());
      }
    }
    std::ranges::sort(positions);
    ASSERT_EQ(positions.size(), kNumPictures);
    for (uint64_t i = 0; i < kNumPictures; ++i) EXPECT_EQ(positions[i], i);
  }
}

TEST_F(MergedEpochSourceTest, AFrameSaysWhichServerWasWaitedForAndWhetherTheOrderHeldItUp) {
  FillAll();
  for (int i = 0; i < kNumServers; ++i) {
    trouble_[i]->waited[StallPart::kDisk] = absl::Milliseconds(10 + i);
    trouble_[i]->waited[StallPart::kWire] = absl::Milliseconds(5);
  }
  trouble_[1]->held_up = true;
  const auto merged = Merged();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
  for (uint64_t slot = 0; slot < request_.global_batch; ++slot) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    const uint32_t server = slot / (request_.global_batch / kNumServers);
    EXPECT_EQ(frame->server, server);
    EXPECT_EQ(frame->waited[StallPart::kDisk], absl::Milliseconds(10 + server));
    // While server 1 cannot go on, the wire of the others is not all that is waited for.
    EXPECT_EQ(frame->waited[StallPart::kWire], absl::Milliseconds(server == 1 ? 5 : 0));
    EXPECT_EQ(frame->waited[StallPart::kOrder], absl::Milliseconds(server == 1 ? 0 : 5));
  }
}

TEST_F(MergedEpochSourceTest, FramesThatComeTwiceAndReplacementsCountAsOrder) {
  FillAll();
  for (const auto& trouble : trouble_) trouble->waited[StallPart::kDisk] = absl::Hours(1);
  trouble_[1]->frames_until_gone = 2;  // of the four of each step
  const auto merged = Merged();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
  for (uint64_t slot = 0; slot < request_.global_batch; ++slot) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    EXPECT_EQ(frame->waited[StallPart::kDisk], absl::Hours(1));
    // The first two of the run come again from the server that stands in.
    const bool was_replaced = slot == 6;
    EXPECT_EQ(absl::Trunc(frame->waited[StallPart::kOrder], absl::Hours(1)),
              absl::Hours(was_replaced ? 2 : 0));
    EXPECT_EQ(frame->server == 1, slot == 4 || slot == 5);
  }
}

TEST_F(MergedEpochSourceTest, WritingWantsOneServer) {
  MergedCatalog catalog(Group());
  const auto is_refused = StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--cache server-0"));
  EXPECT_THAT(catalog.CreateSet(description_), is_refused);
  EXPECT_THAT(catalog.OpenSet(description_.set.Id(), OpenMode::kContribute), is_refused);
  EXPECT_THAT(catalog.PutManifest(manifest_), is_refused);
  EXPECT_THAT(catalog.SetName("x", description_.set.Id(), false), is_refused);
}

}  // namespace
}  // namespace afterimage::testing
