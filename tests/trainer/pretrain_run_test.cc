// What a run of pre-training leaves in its folder: event files, pictures, checkpoints kept.
#include <filesystem>
#include <set>

#include "gmock/gmock.h"
#include "tests/trainer/pretrain_fixture.h"
#include "tests/trainer/run/event_reader.h"
#include "trainer/checkpoint/checkpoint.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::testing::ElementsAre;
using testing::EventFiles;
using testing::ReadEvent;
using testing::ReadEventFolder;
using ::testing::SizeIs;

class PretrainRunTest : public testing::PretrainTest {
 protected:
  std::vector<ReadEvent> Events(const std::string& out, const std::string& tag) const {
    std::vector<ReadEvent> found;
    for (ReadEvent& event : ReadEventFolder(Path(out))) {
      if (event.tag == tag) found.push_back(std::move(event));
    }
    return found;
  }
  static std::vector<int64_t> Steps(const std::vector<ReadEvent>& events) {
    std::vector<int64_t> steps;
    for (const ReadEvent& event : events) steps.push_back(event.step);
    return steps;
  }
  std::set<std::string> Checkpoints(const std::string& folder) const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(Path(folder))) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".safetensors") && name.starts_with("checkpoint")) names.insert(name);
    }
    return names;
  }
};

TEST_F(PretrainRunTest, CurvesAreThoseOfTheLogAlsoOfAResumedRun) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions part = Cached("run");
  part.steps = 5;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  ASSERT_THAT(Pretrain(Cached("run")).status(), IsOk());
  EXPECT_THAT(EventFiles(Path("run")), SizeIs(2));
  for (const auto& [tag, column] :
       {std::pair{"train/loss", "loss"}, {"train/lr", "lr"}, {"train/gradient_norm", "grad_norm"}}) {
    const std::map<int, std::string> log = Column("run", column);
    const std::vector<ReadEvent> curve = Events("run", tag);
    ASSERT_THAT(log, SizeIs(12)) << tag;
    ASSERT_THAT(curve, SizeIs(12)) << tag;
    for (const ReadEvent& event : curve)
      EXPECT_FLOAT_EQ(event.scalar, std::strtof(log.at(static_cast<int>(event.step)).c_str(), nullptr))
          << tag;
  }
  EXPECT_THAT(Steps(Events("run", "train/epoch_loss")), ElementsAre(2, 5, 8, 11));
}

TEST_F(PretrainRunTest, PicturesShowTheSameSamplesInAllPartsOfARun) {
  MakeCache("cache", TokenPolicy::kVisible, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.image_every = {5, false};
  options.target_norm = "none";
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  PretrainOptions part = options;
  part.out = Path("parts");
  part.steps = 7;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  part.steps = 0;
  ASSERT_THAT(Pretrain(part).status(), IsOk());
  const std::vector<ReadEvent> whole = Events("run", "samples"), parts = Events("parts", "samples");
  EXPECT_THAT(Steps(whole), ElementsAre(4, 9));
  ASSERT_THAT(Steps(parts), ElementsAre(4, 9));
  EXPECT_TRUE(whole[0].png == parts[0].png);
  EXPECT_TRUE(whole[1].png == parts[1].png);
  EXPECT_FALSE(whole[0].png == whole[1].png) << "the student has learnt nothing";
  options.out = Path("without");
  options.image_every = {};
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_THAT(Events("without", "samples"), SizeIs(0));
  EXPECT_EQ(Losses("without"), Losses("run"));
}

TEST_F(PretrainRunTest, CheckpointsAreKeptAsAskedForAndTheBestIsThatOfTheLowestMeanLoss) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  options.epochs = 6;
  options.keep = 3;
  options.checkpoint_every = {4, false};
  options.keep_every = {2, /*epochs=*/true};
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  EXPECT_THAT(Checkpoints("run"), SizeIs(3));
  EXPECT_TRUE(Checkpoints("run").contains("checkpoint-18.safetensors"));
  EXPECT_THAT(Checkpoints("run/kept"), ElementsAre("checkpoint-12.safetensors", "checkpoint-18.safetensors",
                                                   "checkpoint-6.safetensors"));
  const std::map<int, std::string> means = Column("run", "mean_loss");
  ASSERT_THAT(means, SizeIs(6));
  int best = 0;
  double lowest = 1e9;
  for (const auto& [step, text] : means) {
    if (const double mean = std::strtod(text.c_str(), nullptr); mean < lowest) {
      lowest = mean;
      best = step + 1;
    }
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Checkpoint read, ReadCheckpoint(Path("run/best.safetensors")));
  EXPECT_EQ(read.step, static_cast<uint64_t>(best));
}

TEST_F(PretrainRunTest, ARunThatBeginsAnewDoesNotGoOnFromTheOneBefore) {
  MakeCache("cache", TokenPolicy::kAll, Codec::kF16);
  PretrainOptions options = Cached("run");
  ASSERT_THAT(Pretrain(options).status(), IsOk());
  options.resume = false;
  options.lr = 2e-3;
  options.steps = 4;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PretrainSummary anew, Pretrain(options));
  EXPECT_EQ(anew.steps, 4u);
  EXPECT_THAT(Checkpoints("run"), ElementsAre("checkpoint-3.safetensors", "checkpoint-4.safetensors"));
  EXPECT_THAT(Losses("run"), SizeIs(4));
}

}  // namespace
}  // namespace afterimage::trainer
