// Targets that travel coded and are decoded by the CPU build of the kernel, against those that the feed
// decodes.
#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <span>
#include <string>
#include <vector>

#include "core/feature/image_index.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/pretrain_fixture.h"
#include "tests/trainer/small_world.h"
#include "trainer/data/batch_feed.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::testing::SizeIs;

constexpr int64_t kWidth = 24;  // more than the wide channels of packed rows

class CodedTargetsTest : public testing::PretrainTest {
 protected:
  void SetUp() override {
    PretrainTest::SetUp();
    testing::WriteImages(images_, {.num_undecodable = 2});
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source, OpenImageSource(images_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(index_, ImageIndex::Build(source, 1));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache_, OpenCache(Path("cache"), {.create = true}));
  }

  // A set of the features of teacher number `teacher`, named by its codec and `more`.
  std::string Fill(Codec codec, TokenPolicy policy = TokenPolicy::kAll, uint64_t teacher = 7,
                   const std::string& more = "") {
    const std::string weights = Path(absl::StrCat(teacher, ".safetensors"));
    testing::WriteTeacher(weights, teacher, teacher == 7 ? kWidth : 16);
    TeacherOptions options;
    options.weights = weights;
    const auto runner = TeacherRunner::Load(options);
    EXPECT_THAT(runner.status(), IsOk());
    SetDescription description = testing::DescribeSet(**runner, policy, codec);
    if (NeedsProfile(codec)) {
      EXPECT_THAT(testing::Calibrate(*cache_.catalog, **runner, *index_, description), IsOk());
    }
    EXPECT_THAT(testing::FillCache(*cache_.catalog, **runner, *index_, description, 2), IsOk());
    const std::string name = absl::StrCat("set-", CodecName(codec), more);
    EXPECT_THAT(cache_.catalog->SetName(name, description.set.Id(), false), IsOk());
    return name;
  }

  PretrainOptions Of(std::vector<std::string> sets) const {
    PretrainOptions options = Cached("run");
    options.width = 24;
    options.input.sets = std::move(sets);
    return options;
  }

  std::unique_ptr<ImageIndex> index_;
  OpenedCache cache_;
};

// Of all batches of a run: the rows that are samples.
std::vector<at::Tensor> TargetsOf(const PretrainPlan& plan, std::optional<at::Device> decode_on) {
  BatchFeed::Options options = FeedFrom(plan, plan.start);
  options.decode_on = decode_on;
  BatchFeed feed(plan.input->source(), std::move(options));
  std::vector<at::Tensor> all;
  while (true) {
    const absl::StatusOr<TrainingBatch*> batch = feed.Next();
    EXPECT_THAT(batch.status(), IsOk());
    if (!batch.ok() || *batch == nullptr) return all;
    EXPECT_EQ((*batch)->coded.size(), decode_on.has_value() ? (*batch)->targets.size() : 0);
    for (const at::Tensor& target : (*batch)->targets) {
      EXPECT_EQ(target.sizes().vec(),
                (std::vector<int64_t>{8, (*batch)->visible.size(1) + 1, target.size(2)}));
      all.push_back(target.narrow(0, 0, (*batch)->size).clone());
    }
    feed.Release(*batch);
  }
}

// The losses of training on these batches, to the bit.
std::vector<uint32_t> LossesOf(const PretrainOptions& options, std::optional<at::Device> decode_on) {
  const auto plan = PlanPretraining(options);
  EXPECT_THAT(plan.status(), IsOk());
  SelfCommunicator alone;
  StepTrace no_trace({});
  const auto train_step = TrainStep::Create(*plan, &alone, &no_trace);
  EXPECT_THAT(train_step.status(), IsOk());
  BatchFeed::Options feed_options = FeedFrom(*plan, plan->start);
  feed_options.decode_on = decode_on;
  BatchFeed feed(plan->input->source(), std::move(feed_options));
  std::vector<uint32_t> losses;
  for (uint64_t step = 0; step < plan->last_step; ++step) {
    const absl::StatusOr<TrainingBatch*> batch = feed.Next();
    EXPECT_THAT(batch.status(), IsOk());
    const auto loss = (*train_step)->Gradients(**batch, step, static_cast<uint64_t>((*batch)->size));
    EXPECT_THAT(loss.status(), IsOk());
    losses.push_back(std::bit_cast<uint32_t>(*loss));
    EXPECT_THAT((*train_step)->Update(1e-3).status(), IsOk());
    feed.Release(*batch);
  }
  return losses;
}

TEST_F(CodedTargetsTest, TargetsOfEveryCodecAreTheSame) {
  for (const Codec codec : {Codec::kF32, Codec::kF16, Codec::kBf16, Codec::kI8x, Codec::kI6x, Codec::kI5x,
                            Codec::kI4x, Codec::kEzq8, Codec::kLossless16}) {
    for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
      const std::string set = Fill(codec, policy, 7, policy == TokenPolicy::kAll ? "-all" : "-visible");
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(Of({set})));
      const std::vector<at::Tensor> usual = TargetsOf(plan, std::nullopt);
      const std::vector<at::Tensor> coded = TargetsOf(plan, at::kCPU);
      ASSERT_THAT(usual, SizeIs(2 * 12));
      ASSERT_THAT(coded, SizeIs(usual.size()));
      for (size_t i = 0; i < usual.size(); ++i) EXPECT_TRUE(at::equal(usual[i], coded[i])) << set << " " << i;
    }
  }
}

TEST_F(CodedTargetsTest, LossesAreThoseOfTheUsualPathBitForBit) {
  for (const Codec codec : {Codec::kF32, Codec::kI8x, Codec::kI4x}) {
    PretrainOptions options = Of({Fill(codec)});
    options.target_norm = "none";  // with statistics
    options.accumulate = 2;
    options.input.mask_ratio = LinearRange(0.8, 0.4);  // another number of patches in each epoch
    const std::vector<uint32_t> usual = LossesOf(options, std::nullopt);
    ASSERT_THAT(usual, SizeIs(12));
    EXPECT_EQ(usual, LossesOf(options, at::kCPU)) << CodecName(codec);
  }
}

TEST_F(CodedTargetsTest, EachTeachersRowsHaveTheirOwnScales) {
  const PretrainOptions options = Of({Fill(Codec::kI8x), Fill(Codec::kI5x, TokenPolicy::kAll, 8)});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(options));
  const std::vector<at::Tensor> usual = TargetsOf(plan, std::nullopt), coded = TargetsOf(plan, at::kCPU);
  ASSERT_THAT(usual, SizeIs(4 * 12));
  for (size_t i = 0; i < usual.size(); ++i) EXPECT_TRUE(at::equal(usual[i], coded[i])) << i;
  EXPECT_EQ(LossesOf(options, std::nullopt), LossesOf(options, at::kCPU));
}

// The values above would be the same without exceptions only if there were none.
TEST_F(CodedTargetsTest, TheCachesOfTheseTestsHaveExceptions) {
  for (const Codec codec : {Codec::kI8x, Codec::kI4x}) {
    const std::string name = Fill(codec);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainPlan plan, PlanPretraining(Of({name})));
    BatchFeed::Options options = FeedFrom(plan, plan.start);
    options.decode_on = at::kCPU;
    BatchFeed feed(plan.input->source(), std::move(options));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TrainingBatch* const batch, feed.Next());
    const TrainingBatch::CodedTarget& target = batch->coded[0];
    const RowsToDecode rows = target.rows.View(target.memory.data_ptr<uint8_t>(), {});
    ASSERT_GT(rows.num_rows, 0u);
    // Planes with too many exceptions are f16: of packed ones that may be some.
    const RowCode code = codec == Codec::kI8x ? RowCode::kI8 : RowCode::kPacked4;
    const auto num_coded = std::ranges::count(std::span(rows.rows, rows.num_rows), code, &CodedRow::code);
    EXPECT_GT(num_coded, 0) << name;
    EXPECT_GT(rows.rows[rows.num_rows].first_exception, 0u) << name;
  }
}

}  // namespace
}  // namespace afterimage::trainer
