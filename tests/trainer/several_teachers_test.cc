// Several teachers at once: a set each, the first one says which patches are visible.
#include <functional>

#include "absl/strings/str_cat.h"
#include "client/open_cache.h"
#include "core/mask/mask.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/pretrain_fixture.h"
#include "tests/trainer/small_world.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/data/batch_feed.h"
#include "trainer/data/feature_input.h"
#include "trainer/pretrain/pretrainer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 16, kOtherWidth = 24;  // of the two teachers

class SeveralTeachersTest : public testing::PretrainTest {
 protected:
  void SetUp() override {
    PretrainTest::SetUp();
    testing::WriteImages(images_, {.num_undecodable = 1});
    testing::WriteTeacher(teacher_, /*seed=*/7, kWidth);
    testing::WriteTeacher(Path("other.safetensors"), /*seed=*/8, kOtherWidth);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source, OpenImageSource(images_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(index_, ImageIndex::Build(source, 1));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache_, OpenCache(Path("cache"), {.create = true}));
  }

  // The set of a teacher's features under a name. `change` may change what is stored.
  SetDescription Fill(const std::string& name, const std::string& weights, TokenPolicy policy,
                      const std::function<void(SetDescription&)>& change = {}, uint32_t num_view_seeds = 2) {
    TeacherOptions options;
    options.weights = weights;
    const auto teacher = TeacherRunner::Load(options);
    EXPECT_THAT(teacher.status(), IsOk());
    SetDescription description = testing::DescribeSet(**teacher, policy, Codec::kF32);
    if (change) change(description);
    EXPECT_THAT(testing::FillCache(*cache_.catalog, **teacher, *index_, description, num_view_seeds), IsOk());
    EXPECT_THAT(cache_.catalog->SetName(name, description.set.Id(), false), IsOk());
    return description;
  }

  PretrainOptions Of(const std::string& out, std::vector<std::string> sets) const {
    PretrainOptions options = Cached(out);
    options.input.sets = std::move(sets);
    return options;
  }

  std::unique_ptr<ImageIndex> index_;
  OpenedCache cache_;
};

// The features of `key` in a set, all tokens.
FeatureRecord RecordOf(FeatureCatalog& catalog, const Digest256& set_id, const RecordKey& key) {
  const auto set = catalog.OpenSet(set_id, OpenMode::kRead);
  EXPECT_THAT(set.status(), IsOk());
  const auto bytes = ReadOne(*set->store, key);
  EXPECT_THAT(bytes.status(), IsOk());
  return *FeatureBlock::Parse(bytes->bytes)->ToRecord();
}

TEST_F(SeveralTeachersTest, TargetsAreEachTeachersRowsOfTheFirstOnesMask) {
  const SetDescription first = Fill("first", teacher_, TokenPolicy::kAll);
  const SetDescription other = Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  BatchFeed::Options options;
  options.request.set_id = first.set.Id();
  options.request.order = {.manifest = index_->manifest().digest(),
                           .num_occurrences = index_->manifest().num_occurrences(),
                           .num_view_seeds = 2,
                           .mask = {.num_visible = 5}};
  options.request.global_batch = 5;
  options.request.selection.tokens = Selection::Tokens::kMask;
  options.request.selection.levels = {3};
  options.further_sets = {{.set_id = other.set.Id(), .levels = {2, 3}}};
  options.num_steps = 2;
  options.shape = {.batch = 5,
                   .num_visible = 5,
                   .patch_size = 3,
                   .teachers = {{kWidth, {3}}, {kOtherWidth, {2, 3}}},
                   .with_statistics = true};
  BatchFeed feed(cache_.epoch_source.get(), std::move(options));
  for (int step = 0; step < 2; ++step) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(TrainingBatch * batch, feed.Next());
    ASSERT_EQ(batch->targets.size(), 3u);
    for (int64_t i = 0; i < batch->size; ++i) {
      const RecordKey& key = batch->keys[static_cast<size_t>(i)];
      const FeatureRecord mine = RecordOf(*cache_.catalog, first.set.Id(), key);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
          const std::vector<uint16_t> mask,
          DrawMask({.num_visible = 5}, key.image, key.view_seed, 0, mine.importance));
      const FeatureRecord theirs = RecordOf(*cache_.catalog, other.set.Id(), key);
      for (int64_t token = 0; token <= 5; ++token) {
        const int64_t row = token == 0 ? 0 : mask[static_cast<size_t>(token - 1)] + 1;
        if (token > 0) {
          ASSERT_EQ(batch->visible[i][token - 1].item<int64_t>(), row - 1);
        }
        const auto expect_row = [&](size_t target, const LevelFeatures& level) {
          for (int64_t channel = 0; channel < level.width; ++channel) {
            ASSERT_EQ(batch->targets[target][i][token][channel].item<float>(),
                      level.values[static_cast<size_t>(row * level.width + channel)]);
          }
          ASSERT_EQ(batch->mean[target][i][token].item<float>(), level.mean[static_cast<size_t>(row)]);
          ASSERT_EQ(batch->inverse_deviation[target][i][token].item<float>(),
                    level.inverse_deviation[static_cast<size_t>(row)]);
        };
        expect_row(0, mine.levels[1]);
        expect_row(1, theirs.levels[0]);
        expect_row(2, theirs.levels[1]);
      }
    }
    feed.Release(batch);
  }
}

TEST_F(SeveralTeachersTest, TheLossIsTheWeightedSumOfTheTeachersLosses) {
  Fill("first", teacher_, TokenPolicy::kAll);
  Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  const auto first_loss = [&](const std::string& out, std::vector<std::string> sets,
                              const std::string& weights) {
    PretrainOptions options = Of(out, std::move(sets));
    options.teacher_weights = weights;
    options.steps = 1;
    const auto summary = Pretrain(options);
    EXPECT_THAT(summary.status(), IsOk());
    return summary->last_loss;
  };
  const double first = first_loss("a", {"first"}, "");
  const double both = first_loss("b", {"first", "other"}, "1,1");
  const double mean = first_loss("c", {"first", "other"}, "");
  const double more = first_loss("d", {"first", "other"}, "1,3");
  EXPECT_NEAR(mean, both / 2, 1e-6);
  const double other = both - first;  // its alignment starts from values of its own, whatever else there is
  EXPECT_GT(other, 0.1);
  EXPECT_NEAR(more, first + 3 * other, 1e-5);
}

TEST_F(SeveralTeachersTest, ARunResumesBitForBitAndRefusesOtherSets) {
  Fill("first", teacher_, TokenPolicy::kAll);
  Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  const std::vector<std::string> sets = {"first", "other"};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary whole, Pretrain(Of("whole", sets)));
  EXPECT_EQ(whole.steps, 12u);
  EXPECT_GT(whole.num_failed, 0u);
  PretrainOptions part = Of("parts", sets);
  part.steps = 5;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  ASSERT_THAT(Pretrain(Of("parts", sets)).status(), IsOk());
  EXPECT_EQ(Losses("whole"), Losses("parts"));
  EXPECT_EQ(Digests("whole"), Digests("parts"));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary alone, Pretrain(Of("alone", {"first"})));
  EXPECT_NE(Digests("whole"), Digests("alone"));
  EXPECT_THAT(Pretrain(Of("alone", sets)).status(), StatusIs(absl::StatusCode::kFailedPrecondition));
  PretrainOptions swapped = Of("parts", {"other", "first"});
  EXPECT_THAT(Pretrain(swapped).status(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SeveralTeachersTest, RowsChosenThereEqualRowsPickedHere) {
  const SetDescription first = Fill("first", teacher_, TokenPolicy::kAll);
  Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  ASSERT_THAT(Pretrain(Of("picked", {"first", "other"})).status(), IsOk());

  // The same records with the first teacher's importance, as precompute --importance-from makes them.
  TeacherOptions options;
  options.weights = Path("other.safetensors");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(options));
  SetDescription named = testing::DescribeSet(*teacher, TokenPolicy::kAll, Codec::kF32);
  named.set.importance_from = first.set.feature_id;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet source,
                                  cache_.catalog->OpenSet(first.set.Id(), OpenMode::kRead));
  ASSERT_THAT(testing::FillCache(*cache_.catalog, *teacher, *index_, named, 2, source.store.get()), IsOk());
  ASSERT_THAT(cache_.catalog->SetName("named", named.set.Id(), false), IsOk());
  ASSERT_THAT(Pretrain(Of("chosen", {"first", "named"})).status(), IsOk());
  EXPECT_EQ(Losses("picked"), Losses("chosen"));

  // Visible tokens alone, of both.
  const MaskSpec mask = {.num_visible = 4, .mask_seed = 0, .num_masks = 2};
  const auto visible = [&](SetDescription& description) {
    description.set.token_policy = TokenPolicy::kVisible;
    description.set.mask = mask;
  };
  Fill("first-visible", teacher_, TokenPolicy::kVisible, visible);
  visible(named);
  ASSERT_THAT(testing::FillCache(*cache_.catalog, *teacher, *index_, named, 2, source.store.get()), IsOk());
  ASSERT_THAT(cache_.catalog->SetName("named-visible", named.set.Id(), false), IsOk());
  ASSERT_THAT(Pretrain(Of("visible", {"first-visible", "named-visible"})).status(), IsOk());
  EXPECT_EQ(Losses("picked"), Losses("visible"));
}

TEST_F(SeveralTeachersTest, SetsThatDoNotFitEachOtherAreRefused) {
  Fill("first", teacher_, TokenPolicy::kAll);
  Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  Fill("own-masks", Path("other.safetensors"), TokenPolicy::kVisible);
  Fill("other-views", Path("other.safetensors"), TokenPolicy::kAll, [](SetDescription& description) {
    description.feature.view.min_area = {1, 2};
    description.set.feature_id = description.feature.Id();
  });
  Fill(
      "one-seed", Path("other.safetensors"), TokenPolicy::kAll,
      [](SetDescription& description) { description.set.levels = {3}; }, /*num_view_seeds=*/1);
  const auto refusal = [&](std::vector<std::string> sets) {
    return Pretrain(Of("run", std::move(sets))).status();
  };
  EXPECT_THAT(refusal({"first", "own-masks"}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("--set own-masks"), HasSubstr("its own masks"),
                             HasSubstr("--importance-from"))));
  EXPECT_THAT(refusal({"first", "other-views"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("must have seen the same ones")));
  EXPECT_THAT(refusal({"first", "one-seed"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--view-seeds 1")));
  EXPECT_THAT(refusal({"first", "first"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("named before it")));
  EXPECT_THAT(refusal({"first", "nothing"}), StatusIs(absl::StatusCode::kNotFound));
  PretrainOptions options = Of("run", {"first", "other"});
  options.teacher_weights = "1,2,3";
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 entries for 2 teachers")));
  options.teacher_weights = "1,-2";
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-2 is not a number above 0")));
  options = Of("run", {"first", "other"});
  options.loss_weights = "top2,mean";
  EXPECT_THAT(Pretrain(options).status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   AllOf(HasSubstr("teacher 2"), HasSubstr("level 1"))));
  options = OnLine("run");
  options.input.sets = {"first", "other"};
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("several teachers come from a cache")));
}

TEST_F(SeveralTeachersTest, ASetWithoutTheDataSetIsRefused) {
  Fill("first", teacher_, TokenPolicy::kAll);
  Fill("other", Path("other.safetensors"), TokenPolicy::kAll);
  testing::WriteImages(Path("more"), {.num_images = 16, .seed = 5});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source, OpenImageSource(Path("more")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto more, ImageIndex::Build(source, 1));
  TeacherOptions teacher_options;
  teacher_options.weights = teacher_;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(teacher_options));
  ASSERT_THAT(testing::FillCache(*cache_.catalog, *teacher, *more,
                                 testing::DescribeSet(*teacher, TokenPolicy::kAll, Codec::kF32), 2),
              IsOk());
  PretrainOptions options = Of("run", {"first", "other"});
  options.input.manifest = more->manifest().digest().Hex();
  EXPECT_THAT(Pretrain(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("holds nothing of manifest")));
}

}  // namespace
}  // namespace afterimage::trainer
