// What a run can be told beyond the published recipe: parts of a batch, clipping, the average of the weights,
// bf16, masks and crops that change over the epochs; and what is refused.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/trainer/pretrain_fixture.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/export_network.h"
#include "trainer/data/feature_input.h"
#include "trainer/model/weights_file.h"
#include "trainer/pretrain/pretrain_plan.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class PretrainOptionsTest : public testing::PretrainTest {
 protected:
  void ExpectNearLosses(const std::string& one, const std::string& other, double tolerance) const {
    const auto a = Losses(one), b = Losses(other);
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [step, text] : a) {
      const double wanted = std::strtod(text.c_str(), nullptr);
      EXPECT_NEAR(std::strtod(b.at(step).c_str(), nullptr), wanted, tolerance * wanted) << step;
    }
  }
  Checkpoint Last(const std::string& out) const {
    const auto path = LatestCheckpoint(Path(out));
    auto checkpoint = ReadCheckpoint(path.value_or(""));
    EXPECT_THAT(checkpoint.status(), IsOk());
    return checkpoint.ok() ? *std::move(checkpoint) : Checkpoint{};
  }
  // A live teacher that says views and levels itself.
  PretrainOptions Alone(const std::string& out) const {
    PretrainOptions options = OnLine(out);
    options.input.like.clear();
    return options;
  }
};

TEST_F(PretrainOptionsTest, PartsOfABatchGiveTheStepOfTheWholeOne) {
  // Undecodable pictures: batches of unequal sizes, which the parts do not divide.
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32, /*pixels=*/true, /*num_undecodable=*/2);
  PretrainOptions options = Cached("whole");
  options.drop_path = 0.3;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  for (const uint64_t parts : {2, 3, 8}) {
    options.out = Path(absl::StrCat("parts", parts));
    options.accumulate = parts;
    ASSERT_THAT(Pretrain(options).status(), IsOk());
    ExpectNearLosses("whole", absl::StrCat("parts", parts), 2e-6);
  }
  // The gradients of two single samples, added and not averaged, would be another step.
  const Checkpoint whole = Last("whole"), parts = Last("parts8");
  for (const auto& [name, value] : whole.weights) {
    at::Tensor one = value, other = parts.weights.at(name);
    if (name.ends_with(
            "qkv.bias")) {  // the key third has no gradient but rounding noise, which Adam makes steps of
      const int64_t width = one.size(0) / 3;
      one = at::cat({one.slice(0, 0, width), one.slice(0, 2 * width)});
      other = at::cat({other.slice(0, 0, width), other.slice(0, 2 * width)});
    }
    EXPECT_TRUE(at::allclose(one, other, 1e-3, 2e-4)) << name;
  }
}

TEST_F(PretrainOptionsTest, EverythingTogetherResumesBitForBit) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  for (const char* precision : {"f32", "bf16", "f16"}) {
    SCOPED_TRACE(precision);
    const auto options = [&](const char* name) {
      PretrainOptions all = Cached(absl::StrCat(name, "-", precision));
      all.accumulate = 3;
      all.clip_grad = 0.2;
      all.ema = 0.8;
      all.precision = precision;
      all.input.mask_ratio = LinearRange(0.8, 0.25);
      return all;
    };
    ASSERT_THAT(Pretrain(options("whole")).status(), IsOk());
    for (const uint64_t stop : {2, 5, 9}) {  // inside an epoch, and between two of different masks
      PretrainOptions part = options("parts");
      part.steps = stop;
      ASSERT_THAT(Pretrain(part).status(), IsOk());
    }
    ASSERT_THAT(Pretrain(options("parts")).status(), IsOk());
    const std::string whole = absl::StrCat("whole-", precision), parts = absl::StrCat("parts-", precision);
    EXPECT_THAT(Losses(whole), SizeIs(12));
    EXPECT_EQ(Losses(whole), Losses(parts));
    EXPECT_EQ(Digests(whole), Digests(parts));
    EXPECT_THAT(Column(whole, "grad_norm"), SizeIs(12));
    EXPECT_EQ(Column(whole, "grad_norm"), Column(parts, "grad_norm"));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string one,
                                    ReadFile(Path(whole) + "/checkpoint-12.safetensors"));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string other,
                                    ReadFile(Path(parts) + "/checkpoint-12.safetensors"));
    EXPECT_TRUE(one == other);
    EXPECT_THAT(Last(whole).average, SizeIs(Ge(10)));
  }
}

TEST_F(PretrainOptionsTest, TheAverageIsExportedAndIsThatOfTheWeights) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  // One update from equal starts: half of it in the first average, a quarter in the second.
  ParameterMap exported[2];
  for (int i = 0; i < 2; ++i) {
    PretrainOptions options = Cached(absl::StrCat("run", i));
    options.steps = 2;  // the warm-up's first step is one of rate 0
    options.ema = i == 0 ? 0.5 : 0.75;
    ASSERT_THAT(Pretrain(options).status(), IsOk());
    const std::string path = Path(absl::StrCat("average", i, ".safetensors"));
    ASSERT_THAT(ExportNetwork({.checkpoint = options.out, .out = path, .weights = ExportedWeights::kAverage})
                    .status(),
                IsOk());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights weights, LoadVitWeights(path));
    exported[i] = weights.parameters;
  }
  const ParameterMap last = Last("run0").weights;
  int moved = 0;
  for (const auto& [name, half] : exported[0]) {
    // start = 2 half - last; quarter = 0.75 start + 0.25 last
    EXPECT_TRUE(at::allclose(exported[1].at(name), 1.5 * half - 0.5 * last.at(name), 1e-4, 1e-6)) << name;
    moved += !at::allclose(half, last.at(name), 0, 1e-5);
  }
  EXPECT_GE(moved, 10);
  PretrainOptions without = Cached("without");
  without.steps = 1;
  ASSERT_THAT(Pretrain(without).status(), IsOk());
  EXPECT_THAT(
      ExportNetwork({.checkpoint = without.out, .out = Path("x"), .weights = ExportedWeights::kAverage})
          .status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("without --ema")));
}

TEST_F(PretrainOptionsTest, ClippingBoundsTheUpdateAndIsLogged) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  ASSERT_THAT(Pretrain(Cached("free")).status(), IsOk());
  PretrainOptions loose = Cached("loose");
  loose.clip_grad = 1e6;
  ASSERT_THAT(Pretrain(loose).status(), IsOk());
  EXPECT_EQ(Losses("free"), Losses("loose"));
  EXPECT_THAT(Column("loose", "grad_norm"), SizeIs(12));
  EXPECT_EQ(Column("free", "grad_norm"), Column("loose", "grad_norm"));
  PretrainOptions tight = Cached("tight");
  tight.clip_grad = 1e-3;
  ASSERT_THAT(Pretrain(tight).status(), IsOk());
  EXPECT_NE(Losses("free"), Losses("tight"));
  // The optimiser has seen gradients of the norm that is allowed: its second moments say so.
  double sum = 0;
  for (const auto& [name, value] : Last("tight").optimizer) {
    if (name.ends_with(".exp_avg_sq")) sum += value.sum().item<double>();
  }
  EXPECT_GT(sum, 0);
  EXPECT_LE(sum, 1e-3 * 1e-3);
}

TEST_F(PretrainOptionsTest, HalfPrecisionsTrainLikeF32WithinTheirRounding) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("f32");
  options.epochs = 40;
  options.lr = 5e-3;
  options.drop_path = 0;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  const auto loss = [&](const char* run, int step) {
    return std::strtod(Losses(run).at(step).c_str(), nullptr);
  };
  for (const char* const precision : {"bf16", "f16"}) {
    SCOPED_TRACE(precision);
    options.out = Path(precision);
    options.precision = precision;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary summary, Pretrain(options));
    EXPECT_NE(Losses("f32"), Losses(precision));
    EXPECT_NEAR(loss(precision, 0), loss("f32", 0), 0.01 * loss("f32", 0));
    EXPECT_NEAR(loss(precision, 119), loss("f32", 119), 0.1 * loss("f32", 119));
    EXPECT_LT(summary.last_loss, 0.5 * loss(precision, 0));
    EXPECT_LE(summary.num_skipped_updates, precision == std::string("f16") ? 3u : 0u);
    for (const auto& [name, value] : Last(precision).weights)
      EXPECT_EQ(value.scalar_type(), at::kFloat) << name;
  }
  // The gradients of half precision are those of float32, the factor on the loss taken out again. The step
  // before was one of rate 0, left out or not.
  const auto norm = [&](const char* run) {
    return std::strtod(Column(run, "grad_norm").at(1).c_str(), nullptr);
  };
  EXPECT_NEAR(norm("f16"), norm("f32"), 0.02 * norm("f32"));
}

TEST_F(PretrainOptionsTest, UpdatesThatOverflowHalfPrecisionAreLeftOutCountedAndResumeBitForBit) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  const auto options = [&](const char* name) {
    PretrainOptions f16 = Cached(name);
    f16.precision = "f16";
    f16.ema = 0.5;
    return f16;
  };
  // A run whose factor is far too large when it goes on.
  for (const char* const name : {"whole", "parts"}) {
    PretrainOptions first = options(name);
    first.steps = 2;
    ASSERT_THAT(Pretrain(first).status(), IsOk());
    Checkpoint state = Last(name);
    ASSERT_TRUE(state.values.contains("loss_scale"));
    state.values["loss_scale"] = R"({"scale":"524288","clean":5,"skipped":100})";  // 2^19
    ASSERT_THAT(WriteCheckpoint(first.out, state), IsOk());
  }
  const Checkpoint before = Last("whole");
  PretrainOptions one = options("whole");
  one.steps = 3;
  ASSERT_THAT(Pretrain(one).status(), IsOk());
  const Checkpoint after = Last("whole");
  for (const auto& [name, value] : before.weights)
    EXPECT_TRUE(at::equal(value, after.weights.at(name))) << name;
  for (const auto& [name, value] : before.optimizer)
    EXPECT_TRUE(at::equal(value, after.optimizer.at(name))) << name;
  for (const auto& [name, value] : before.average)
    EXPECT_TRUE(at::equal(value, after.average.at(name))) << name;
  EXPECT_EQ(Json::parse(after.values.at("loss_scale")),
            Json::parse(R"({"scale":"262144","clean":0,"skipped":101})"));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary whole, Pretrain(options("whole")));
  EXPECT_GE(whole.num_skipped_updates, 102u);
  EXPECT_LT(whole.num_skipped_updates, 109u);
  const size_t num_overflows = Column("whole", "overflow").size();
  EXPECT_GE(num_overflows, whole.num_skipped_updates - 100);  // and perhaps one in the first two steps
  EXPECT_THAT(Column("whole", "grad_norm"), SizeIs(12 - num_overflows));
  EXPECT_THAT(Column("whole", "loss_scale"), SizeIs(12));
  for (const uint64_t stop : {4, 9}) {
    PretrainOptions part = options("parts");
    part.steps = stop;
    ASSERT_THAT(Pretrain(part).status(), IsOk());
  }
  ASSERT_THAT(Pretrain(options("parts")).status(), IsOk());
  EXPECT_EQ(Losses("whole"), Losses("parts"));
  EXPECT_EQ(Column("whole", "lr"), Column("parts", "lr"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string a,
                                  ReadFile(Path("whole") + "/checkpoint-12.safetensors"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string b,
                                  ReadFile(Path("parts") + "/checkpoint-12.safetensors"));
  EXPECT_TRUE(a == b);
}

TEST_F(PretrainOptionsTest, TheMaskRatioGoesFromOneToTheOtherCachedAndOnLineAlike) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  for (const auto& [first, last] : {std::pair{0.75, 0.0}, std::pair{0.25, 0.75}}) {
    PretrainOptions cached = Cached(absl::StrCat("cached", last));
    cached.input.mask_ratio = LinearRange(first, last);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(cached));
    EXPECT_EQ(plan.input->OrderOf(0).mask.num_visible, NumVisible(16, first));
    EXPECT_EQ(plan.input->OrderOf(3).mask.num_visible, NumVisible(16, last));
    EXPECT_EQ(plan.input->OrderOf(1).mask.num_visible, NumVisible(16, first + (last - first) / 3));
    EXPECT_EQ(plan.input->most_visible(), NumVisible(16, std::min(first, last)));
    ASSERT_THAT(Pretrain(cached).status(), IsOk());
    PretrainOptions live = OnLine(absl::StrCat("live", last));
    live.input.mask_ratio = LinearRange(first, last);
    ASSERT_THAT(Pretrain(live).status(), IsOk());
    EXPECT_EQ(Losses(absl::StrCat("cached", last)), Losses(absl::StrCat("live", last)));
    EXPECT_EQ(Digests(absl::StrCat("cached", last)), Digests(absl::StrCat("live", last)));
    // The first epoch is that of the constant ratio, to the last bit; the second is not.
    PretrainOptions constant = Cached(absl::StrCat("constant", last));
    constant.input.mask_ratio = first;
    ASSERT_THAT(Pretrain(constant).status(), IsOk());
    const auto expected = Losses(absl::StrCat("constant", last)), seen = Losses(absl::StrCat("cached", last));
    for (int step = 0; step < 3; ++step) EXPECT_EQ(seen.at(step), expected.at(step));
    EXPECT_NE(seen.at(3), expected.at(3));
  }
}

TEST_F(PretrainOptionsTest, NoMaskIsARatioOfZero) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions none = Cached("none");
  none.input.no_mask = true;
  ASSERT_THAT(Pretrain(none).status(), IsOk());
  PretrainOptions zero = Cached("zero");
  zero.input.mask_ratio = 0.0;
  zero.input.mask_type = MaskSpec::Type::kAttention;
  ASSERT_THAT(Pretrain(zero).status(), IsOk());
  EXPECT_EQ(Losses("none"), Losses("zero"));
  EXPECT_EQ(Digests("none"), Digests("zero"));
  none.input.mask_ratio = 0.5;
  EXPECT_THAT(Pretrain(none).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a --mask-ratio of 0 and not 0.5")));
}

TEST_F(PretrainOptionsTest, ASetOfItsOwnMasksRefusesOthers) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);  // 5 of 16 patches
  PretrainOptions options = Cached("run");
  options.input.mask_ratio = LinearRange(0.7, 0.5);
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("its own masks")));
  options.input.mask_ratio = 0.2;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("its own masks")));
  options.input.mask_ratio.reset();
  options.input.no_mask = true;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("its own masks")));
  options.input.no_mask = false;
  options.input.mask_ratio = 0.65;  // 5 of 16: what the set has
  options.steps = 1;
  EXPECT_THAT(Pretrain(options).status(), IsOk());
}

// Shares of the picture in the crops of an epoch.
std::vector<double> CropShares(FeatureInput& input, uint64_t epoch) {
  EpochRequest request;
  request.set_id = input.description().set.Id();
  request.order = input.OrderOf(epoch);
  request.epoch = epoch;
  request.global_batch = 24;
  request.selection.tokens = Selection::Tokens::kMask;
  auto stream = input.source()->Open(request);
  EXPECT_THAT(stream.status(), IsOk());
  std::vector<double> shares;
  while (stream.ok()) {
    const auto frame = (*stream)->Next();
    EXPECT_THAT(frame.status(), IsOk());
    if (!frame.ok() || !frame->has_value()) break;
    const auto block = FeatureBlock::Parse((*frame)->block.bytes);
    const ViewGeometry& geometry = block->geometry();
    shares.push_back(static_cast<double>(geometry.box.width) * geometry.box.height /
                     (static_cast<double>(geometry.image_width) * geometry.image_height));
  }
  return shares;
}

TEST_F(PretrainOptionsTest, CropsOfAFreshTeacherShrinkOverTheEpochs) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  PretrainOptions options = Alone("run");
  options.input.fresh = true;
  options.input.min_area = LinearRange(0.9, 0.1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(options));
  const std::vector<double> first = CropShares(*plan.input, 0), last = CropShares(*plan.input, 3);
  EXPECT_THAT(first, SizeIs(24));
  EXPECT_THAT(first, Each(Ge(0.8)));  // sides are whole pixels
  EXPECT_THAT(last, ::testing::Contains(::testing::Le(0.4)));
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  PretrainOptions parts = options;
  parts.out = Path("parts");
  parts.steps = 7;
  ASSERT_THAT(Pretrain(parts).status(), IsOk());
  parts.steps = 0;
  ASSERT_THAT(Pretrain(parts).status(), IsOk());
  EXPECT_EQ(Losses("run"), Losses("parts"));
  parts.input.min_area = LinearRange(0.9, 0.2);
  EXPECT_THAT(Pretrain(parts).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("\"min_area\": \"0.9:0.1\", this run \"0.9:0.2\"")));
}

TEST_F(PretrainOptionsTest, CropsAreRefusedWhereTheViewsAreFixed) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  PretrainOptions options = Cached("run");
  options.input.min_area = 0.5;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("afterimage-precompute")));
  options = OnLine("run");
  options.input.min_area = 0.5;
  EXPECT_THAT(Pretrain(options).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--like")));
  options = Alone("run");
  options.input.min_area = LinearRange(0.5, 0.2);
  EXPECT_THAT(Pretrain(options).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--fresh")));
  options.input.min_area = 0.0;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("min_area")));
  // 0.2 is the default of the view spec, and has its feature id.
  options.input.min_area = 0.2;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan said, PlanPretraining(options));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan silent, PlanPretraining(Alone("run")));
  EXPECT_EQ(said.start.feature_id, silent.start.feature_id);
}

TEST_F(PretrainOptionsTest, TopKOfFewerLevelsIsAsInTheReferenceAndSaid) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF32);
  PretrainOptions options = Alone("run");
  options.loss_weights = options.input.loss_weights = "top5";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(options));
  EXPECT_THAT(plan.level_weights, ::testing::ElementsAre(0.2, 0.2, 0.2));
  ASSERT_THAT(plan.notes, SizeIs(1));
  EXPECT_THAT(plan.notes[0], HasSubstr("sum to 0.6"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan usual, PlanPretraining(Alone("run")));
  EXPECT_THAT(usual.notes, IsEmpty());
}

TEST_F(PretrainOptionsTest, WhatCannotBeTrainedIsRefusedBeforeAnyWork) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  const auto refuse = [&](const std::string& text, const std::function<void(PretrainOptions&)>& change) {
    PretrainOptions options = Cached("refused");
    change(options);
    EXPECT_THAT(Pretrain(options).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  };
  refuse("--warmup-epochs 4 is not below --epochs 4", [](auto& o) { o.warmup_epochs = 4; });
  refuse("--accumulate 9", [](auto& o) { o.accumulate = 9; });
  refuse("--accumulate 0", [](auto& o) { o.accumulate = 0; });
  refuse("--clip-grad -1", [](auto& o) { o.clip_grad = -1; });
  refuse("--ema 1", [](auto& o) { o.ema = 1; });
  refuse("--ema nan", [](auto& o) { o.ema = std::nan(""); });
  refuse("unknown precision \"f64\"", [](auto& o) { o.precision = "f64"; });
  refuse("--drop-path 1", [](auto& o) { o.drop_path = 1; });
  refuse("--weight-decay -0.1", [](auto& o) { o.weight_decay = -0.1; });
  refuse("--beta1", [](auto& o) { o.beta2 = 1; });
  refuse("no patch of 16 is visible", [](auto& o) { o.input.mask_ratio = LinearRange(0.5, 0.99); });
  refuse("unknown model \"vit_giant\": vit_tiny", [](auto& o) { o.model = "vit_giant"; });
  refuse("3 heads do not divide a width of 16", [](auto& o) { o.heads = 3; });
  EXPECT_FALSE(std::filesystem::exists(Path("refused")));
}

TEST_F(PretrainOptionsTest, ACheckpointFromBeforeAnOptionGoesOnWithoutIt) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  ASSERT_THAT(Pretrain(Cached("whole")).status(), IsOk());
  PretrainOptions options = Cached("run");
  options.steps = 5;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  Checkpoint old = Last("run");
  Json config = Json::parse(old.values["config"]);
  for (const char* key : {"accumulate", "clip_grad", "ema", "precision"})
    ASSERT_EQ(config.erase(key), 1u) << key;
  old.values["config"] = config.dump();
  ASSERT_THAT(WriteCheckpoint(options.out, old), IsOk());
  options.steps = 0;
  options.ema = 0.5;
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"ema\": \"0\", this run \"0.5\"")));
  options.ema = 0;
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_EQ(Losses("run"), Losses("whole"));
}

TEST_F(PretrainOptionsTest, ALossThatIsNotFiniteStopsWithTheStepItsKeysAndAWayToRepeatIt) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  for (const double clip : {0.0, 1.0}) {
    SCOPED_TRACE(clip);
    PretrainOptions options = Cached(absl::StrCat("run", clip));
    options.lr = 1e30;
    options.clip_grad = clip;
    const absl::Status status = Pretrain(options).status();
    ASSERT_THAT(status, StatusIs(absl::StatusCode::kInternal, HasSubstr("is not finite at step ")));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string text,
                                    ReadFile(options.out + "/not-finite/samples.json"));
    const Json report = Json::parse(text);
    ASSERT_THAT(report["samples"], SizeIs(8));
    EXPECT_THAT(std::string(status.message()), HasSubstr(report["samples"][0].get<std::string>()));
    const uint64_t step = report["step"].get<uint64_t>();
    EXPECT_LT(step, 12u);
    // The step alone, from the weights before it.
    PretrainOptions again = options;
    again.out += "/not-finite";
    again.steps = step + 1;
    EXPECT_THAT(Pretrain(again).status(), StatusIs(absl::StatusCode::kInternal,
                                                   HasSubstr(absl::StrCat("is not finite at step ", step))));
    EXPECT_THAT(Column(absl::StrCat("run", clip, "/not-finite"), "loss_hex"), IsEmpty());
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("the weights before it and the features are finite"));
  }
  PretrainOptions beyond = Cached("beyond");
  beyond.lr = 1e40;  // no float: the first update leaves nothing finite
  EXPECT_THAT(Pretrain(beyond).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("the weights were not finite before it")));
}

}  // namespace
}  // namespace afterimage::trainer
