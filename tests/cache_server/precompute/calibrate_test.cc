#include "cache_server/precompute/calibrate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <thread>

#include "core/base/stop_signal.h"
#include "core/feature/in_memory_cache.h"
#include "core/view/view.h"
#include "tests/testing/fake_teacher.h"
#include "tests/testing/memory_image_source.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::FakeTeacher;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::MemoryImageSource;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class CalibrateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetStopForTest();
    Index(MemoryImageSource::WithPictures(20));
    ViewSpec view;
    view.size = teacher_.view_size();
    description_.feature = MakeFeatureSpec(teacher_, view);
    description_.set.feature_id = description_.feature.Id();
    description_.set.levels = {2, 3};
    description_.set.token_policy = TokenPolicy::kAll;
    description_.set.codec = Codec::kF32;
  }
  void TearDown() override { ResetStopForTest(); }

  void Index(std::shared_ptr<ImageSource> source) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(images_, ImageIndex::Build(std::move(source), 2));
  }

  CodecDecision::Options Ask(const std::string& worker, std::optional<Codec> codec, CodecLimits limits = {}) {
    CodecDecision::Options options{
        .input = {description_, 2, 2000}, .codec = codec, .limits = limits, .worker = worker};
    options.poll_interval = absl::Milliseconds(10);
    return options;
  }

  // As afterimage-precompute does.
  absl::StatusOr<SetDescription> DecideAndCreate(CodecDecision::Options options) {
    CodecDecision decision(&catalog_, std::move(options));
    SetDescription description = description_;
    if (absl::Status made = decision.Make(*images_, teacher_, description.set).status(); !made.ok())
      return made;
    if (absl::Status created = catalog_.CreateSet(description).status(); !created.ok()) return created;
    if (absl::Status published = decision.Publish(description.set.Id()); !published.ok()) return published;
    return description;
  }

  InMemoryFeatureCatalog catalog_;
  FakeTeacher teacher_;
  std::unique_ptr<ImageIndex> images_;
  SetDescription description_;
};

TEST_F(CalibrateTest, FewImagesAreLookedAtInAllTheirViewsManyInOne) {
  const CalibrateInput input{description_, 3, 2000};
  EXPECT_EQ(CalibrationSample(images_->manifest(), input).size(), 60u);
  const CalibrateInput fewer{description_, 3, 25};
  EXPECT_EQ(CalibrationSample(images_->manifest(), fewer).size(), 25u);
  EXPECT_EQ(CalibrationSample(images_->manifest(), fewer)[24].view_seed, 1u);
  std::vector<std::string> files;
  for (int i = 0; i < 1100; ++i) {
    files.push_back("P5\n2 2\n255\nab");
    files.back() += {static_cast<char>(i), static_cast<char>(i >> 8)};
  }
  Index(std::make_shared<MemoryImageSource>(files));
  const std::vector<RecordKey> many = CalibrationSample(images_->manifest(), input);
  ASSERT_EQ(many.size(), 1100u);
  for (const RecordKey& key : many) EXPECT_EQ(key.view_seed, 0u);
}

TEST_F(CalibrateTest, TheReportHasEveryCodecAndItsProfileDependsOnTheViewsAlone) {
  const CalibrateInput input{description_, 2, 2000};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport report,
                                  CalibrateOnImages(input, *images_, teacher_, nullptr));
  EXPECT_EQ(report.meters.size(), std::size(kAllCodecs));
  EXPECT_EQ(report.profile->content().num_records, 40u);
  EXPECT_EQ(report.profile->content().num_rows, 40u * 17);
  for (const CodecMeter& meter : report.meters) EXPECT_EQ(meter.num_records(), 32u);
  const std::string text = ToText(report, Codec::kI8x);
  for (const Codec codec : kAllCodecs) EXPECT_THAT(text, HasSubstr("\n" + CodecName(codec)));
  EXPECT_THAT(text, AllOf(HasSubstr("40 of all 40 views of 20 images"), HasSubstr("records are few"),
                          HasSubstr("<- taken")));
  const std::string totals = ToText(report, Codec::kI8x, ReportRows::kTotals);
  for (const Codec codec : kAllCodecs) EXPECT_THAT(totals, HasSubstr("\n" + CodecName(codec)));
  EXPECT_EQ(std::ranges::count(text, '\n') - std::ranges::count(totals, '\n'),
            static_cast<ptrdiff_t>(std::size(kAllCodecs) * 2));  // two levels
  EXPECT_EQ(ToJson(report, Codec::kI8x)["taken"], "i8x");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport again,
                                  CalibrateOnImages(input, *images_, teacher_, nullptr));
  EXPECT_EQ(again.profile->digest(), report.profile->digest());
}

TEST_F(CalibrateTest, ImagesThatCannotBeDecodedAreLeftOut) {
  Index(std::make_shared<MemoryImageSource>(std::vector<std::string>{"P5\n2 2\n255\nabcd", "no picture"}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport report,
                                  CalibrateOnImages({description_, 2, 2000}, *images_, teacher_, nullptr));
  EXPECT_EQ(report.profile->content().num_records, 2u);
  Index(std::make_shared<MemoryImageSource>(std::vector<std::string>{"no picture"}));
  EXPECT_THAT(CalibrateOnImages({description_, 1, 2000}, *images_, teacher_, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("memory#0")));
}

TEST_F(CalibrateTest, TheErrorThatIsAskedForChoosesTheCodec) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport report,
                                  CalibrateOnImages({description_, 2, 2000}, *images_, teacher_, nullptr));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Codec half,
                                  ChooseCodec(report, {.max_rmse = 0.001, .max_bytes = {}}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Codec byte, ChooseCodec(report, {.max_rmse = 0.02, .max_bytes = {}}));
  const auto meter = [&](Codec codec) {
    return *std::ranges::find(report.meters, codec, &CodecMeter::codec);
  };
  // Made-up values fit into f16: the smallest codec that holds them is not f32.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Codec exact, ChooseCodec(report, {.max_rmse = 0.0, .max_bytes = {}}));
  EXPECT_EQ(meter(exact).Total().Rmse(), 0);
  EXPECT_LT(meter(exact).BytesPerRecord(), meter(Codec::kF32).BytesPerRecord());
  EXPECT_LE(meter(half).Total().Rmse(), 0.001);
  EXPECT_LE(meter(byte).Total().Rmse(), 0.02);
  EXPECT_LT(meter(byte).BytesPerRecord(), meter(half).BytesPerRecord());
  const double room = report.BytesPerSeed(meter(Codec::kI8x));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Codec fits, ChooseCodec(report, {.max_rmse = {}, .max_bytes = room}));
  EXPECT_LE(report.BytesPerSeed(meter(fits)), room);
  EXPECT_THAT(ChooseCodec(report, {.max_rmse = 0.0, .max_bytes = 10.0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("RMSE of at most 0"), HasSubstr("most exact is"))));
}

// Between two steps with names: more are measured, on the same records.
TEST_F(CalibrateTest, AnErrorThatIsAskedForIsLookedForBetweenTheStepsOfEzq) {
  CalibrateInput input{description_, 2, 2000};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport named,
                                  CalibrateOnImages(input, *images_, teacher_, nullptr));
  const auto of = [&](Codec codec) {
    return WorstRmse(*std::ranges::find(named.meters, codec, &CodecMeter::codec));
  };
  const double asked = (of(Codec::kEzq8) + of(Codec::kEzq4)) / 2;
  input.limits.max_rmse = asked;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const CalibrationReport report,
                                  CalibrateOnImages(input, *images_, teacher_, nullptr));
  ASSERT_GT(report.meters.size(), named.meters.size() + 1);
  double below = 0, above = 1;
  for (const CodecMeter& meter : report.meters) {
    EXPECT_EQ(meter.num_records(), 32u);
    if (!IsEzq(meter.codec())) continue;
    const double error = WorstRmse(meter);
    if (error <= asked) below = std::max(below, error);
    if (error > asked) above = std::min(above, error);
  }
  EXPECT_GT(below, 0.95 * asked);
  EXPECT_LT(above, 1.05 * asked);
}

TEST_F(CalibrateTest, TheSameRequestContinuesItsSetAndAnotherOneHasItsOwn) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription first, DecideAndCreate(Ask("a", Codec::kI8x)));
  const uint64_t seen = teacher_.views_seen();
  EXPECT_EQ(seen, 40u);
  Index(MemoryImageSource::WithPictures(30));  // the data set has grown: other statistics, the same set
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription again, DecideAndCreate(Ask("b", Codec::kI8x)));
  EXPECT_EQ(again.set.Id(), first.set.Id());
  EXPECT_EQ(teacher_.views_seen(), seen);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const SetDescription exact,
      DecideAndCreate(Ask("b", std::nullopt, {.max_rmse = 0.0, .max_bytes = {}})));
  EXPECT_FALSE(NeedsProfile(exact.set.codec));
  EXPECT_TRUE(exact.set.profile_digest.IsZero());
  CodecDecision::Options anew = Ask("c", Codec::kI8x);
  anew.recalibrate = true;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription other, DecideAndCreate(anew));
  EXPECT_NE(other.set.Id(), first.set.Id());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription now, DecideAndCreate(Ask("d", Codec::kI8x)));
  EXPECT_EQ(now.set.Id(), other.set.Id());
}

TEST_F(CalibrateTest, ARequestWhoseSetIsGoneIsDecidedAnew) {
  const Digest256 gone = Sha256(AsBytes("gone"));
  AFTERIMAGE_ASSERT_OK(
      catalog_.DecideChoice(RequestDigest(description_.set, Codec::kI8x, {}), gone, /*replace=*/false));
  CodecDecision::Options options = Ask("a", Codec::kI8x);
  std::string told;
  options.message = [&](const std::string& text) { told += text + "\n"; };
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription made, DecideAndCreate(options));
  EXPECT_THAT(told, AllOf(HasSubstr(gone.Hex()), HasSubstr("is gone")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription again, DecideAndCreate(Ask("b", Codec::kI8x)));
  EXPECT_EQ(again.set.Id(), made.set.Id());
  EXPECT_EQ(teacher_.views_seen(), 40u);
}

TEST_F(CalibrateTest, OfTwoWorkersOneCalibratesAndTheOtherTakesItsSet) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const ChoiceClaim held,
      catalog_.ClaimChoice(RequestDigest(description_.set, Codec::kI8x, {}), "a", absl::Seconds(60)));
  EXPECT_EQ(held.holder, "a");
  std::atomic<bool> waits = false;
  CodecDecision::Options second = Ask("b", Codec::kI8x);
  second.message = [&](const std::string& text) {
    waits = waits || text.find("worker a calibrates") != std::string::npos;
  };
  second.report = [](const CalibrationReport&, Codec) {
    ADD_FAILURE() << "the second worker has calibrated";
  };
  SetDescription taken;
  std::thread other([&] {
    absl::StatusOr<SetDescription> description = DecideAndCreate(second);
    ASSERT_THAT(description, IsOk());
    taken = *description;
  });
  while (!waits) std::this_thread::yield();
  const absl::StatusOr<SetDescription> mine = DecideAndCreate(Ask("a", Codec::kI8x));
  other.join();
  ASSERT_THAT(mine, IsOk());
  EXPECT_EQ(taken.set.Id(), mine->set.Id());
}

TEST_F(CalibrateTest, APlanTakesWhatWasDecidedAndStoresNothing) {
  CodecDecision::Options options = Ask("planner", Codec::kI8x);
  options.plan_only = true;
  for (FeatureCatalog* const catalog :
       {static_cast<FeatureCatalog*>(nullptr), static_cast<FeatureCatalog*>(&catalog_)}) {
    SetSpec set = description_.set;
    CodecDecision plan(catalog, options);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto profile, plan.Make(*images_, teacher_, set));
    EXPECT_EQ(set.codec, Codec::kI8x);
    EXPECT_EQ(set.profile_digest, profile->digest());
  }
  EXPECT_THAT(catalog_.ListProfiles(), testing::IsOkAndHolds(::testing::IsEmpty()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription decided, DecideAndCreate(Ask("a", Codec::kI8x)));
  const uint64_t seen = teacher_.views_seen();
  SetSpec set = description_.set;
  CodecDecision plan(&catalog_, options);
  AFTERIMAGE_ASSERT_OK(plan.Make(*images_, teacher_, set));
  EXPECT_EQ(set.Id(), decided.set.Id());
  EXPECT_EQ(teacher_.views_seen(), seen);
}

TEST_F(CalibrateTest, AWorkerThatFailsGivesItsLeaseBack) {
  EXPECT_THAT(DecideAndCreate(Ask("a", std::nullopt, {.max_rmse = {}, .max_bytes = 1.0})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no codec keeps to")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const ChoiceClaim next,
      catalog_.ClaimChoice(RequestDigest(description_.set, std::nullopt, {.max_rmse = {}, .max_bytes = 1.0}),
                           "b", absl::Seconds(1)));
  EXPECT_EQ(next.holder, "b");
}

TEST_F(CalibrateTest, ARecordThatCannotBeStoredIsNamed) {
  const auto of_key = [&](size_t i) {
    return absl::StrCat("record ", images_->manifest().keys()[i].Hex(), "/0: ");
  };
  description_.set.token_policy = TokenPolicy::kVisible;
  description_.set.mask.num_visible = 4;
  teacher_.set_change([](FeatureRecord& record) { record.importance[3] = std::nanf(""); });
  EXPECT_THAT(DecideAndCreate(Ask("a", Codec::kI8x)).status(),  // masks are drawn of those that are measured
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(of_key(1)), HasSubstr("importance of patch 3 is nan"))));
  teacher_.set_change([](FeatureRecord& record) { record.levels[0].values[9] = INFINITY; });
  EXPECT_THAT(DecideAndCreate(Ask("a", Codec::kI8x)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(of_key(0)), HasSubstr("level 2, token 1, channel 1: inf"))));
}

TEST_F(CalibrateTest, AStopEndsItWithoutAProfile) {
  RequestStop();
  EXPECT_THAT(DecideAndCreate(Ask("a", Codec::kI8x)), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(catalog_.ListProfiles(), testing::IsOkAndHolds(::testing::IsEmpty()));
}

}  // namespace
}  // namespace afterimage
