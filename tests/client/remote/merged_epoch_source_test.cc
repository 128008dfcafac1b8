// Several servers, here sources in this process: what they send together is what one sends alone.
#include "client/remote/merged_epoch_source.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/remote/merged_catalog.h"
#include "client/remote/merged_store.h"
#include "core/order/epoch_reader.h"
#include "tests/client/remote/merged_epoch_fixture.h"
#include "tests/conformance/epoch_positions_conformance.h"
#include "tests/conformance/epoch_source_conformance.h"

namespace afterimage::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

using MergedEpochSourceTest = MergedEpochFixture;

TEST_F(MergedEpochSourceTest, ThreeServersSendWhatOneSendsAndShareTheWork) {
  FillAll();
  const auto merged = Merged();
  EXPECT_EQ(DigestOf(*merged, request_), WantedDigest());
  for (int i = 0; i < kNumServers; ++i) EXPECT_EQ(trouble_[i]->frames, kNumPictures / kNumServers);
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
  const auto merged = Merged({.patience = absl::Milliseconds(300), .hedge_after = absl::InfiniteDuration()});
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

TEST_F(MergedEpochSourceTest, AReplacementSendsWhatIsMissingAndOneThatKnowsNoPositionsTheWholeStep) {
  FillAll();
  for (const auto& trouble : trouble_) trouble->waited[StallPart::kDisk] = absl::Hours(1);
  for (const bool old_servers : {false, true}) {
    for (const auto& trouble : trouble_) trouble->no_positions = old_servers;
    trouble_[1]->frames_until_gone = 2;  // of the four of each step
    trouble_[2]->frames = 0;
    const auto merged = Merged();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
    for (uint64_t slot = 0; slot < request_.global_batch; ++slot) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
      EXPECT_EQ(frame->position, slot);
      EXPECT_EQ(frame->waited[StallPart::kDisk], absl::Hours(1));
      // The first two of the run come again from an old server that stands in.
      const bool comes_after_others = slot == 6 && old_servers;
      EXPECT_EQ(absl::Trunc(frame->waited[StallPart::kOrder], absl::Hours(1)),
                absl::Hours(comes_after_others ? 2 : 0));
      EXPECT_EQ(frame->server == 1, slot == 4 || slot == 5);
    }
    EXPECT_EQ(trouble_[2]->frames, old_servers ? 8 : 6);
    trouble_[1]->frames_until_gone = int64_t{1} << 40;
  }
}

TEST_F(MergedEpochSourceTest, ExplicitPositionsGoOnWithAnotherServerWhereTheOneWasLost) {
  FillAll();
  request_.positions = {{3, 9}, {20, 21}, {30, 50}};
  for (const int64_t frames : {0, 1, 6, 7, 20}) {
    SCOPED_TRACE(frames);
    trouble_[0]->frames_until_gone = frames;
    const auto merged = Merged();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, merged->Open(request_));
    const EpochPositions wanted(request_);
    for (uint64_t i = 0; i < wanted.size(); ++i) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
      EXPECT_EQ(frame->position, wanted[i]);
      EXPECT_EQ(frame->state, RecordState::kOk);
      stream->ReturnCredit(frame->CostBytes());
    }
    EXPECT_THAT(stream->Next(), IsOkAndHolds(::testing::Eq(std::nullopt)));
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
