#include "trainer/run/checkpoint_keeper.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/run/step_interval.h"

namespace afterimage::trainer {
namespace {

namespace fs = std::filesystem;
using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CheckpointKeeperTest : public ::testing::Test {
 protected:
  std::string Folder() const { return (folder_ / "run").string(); }
  CheckpointKeeperTest() { fs::create_directories(Folder()); }

  static Checkpoint State(uint64_t step) {
    const auto value = static_cast<double>(step);
    return {.step = step,
            .weights = {{"w", at::full({1000}, value)}},
            .optimizer = {{"w.step", at::full({}, value)}},
            .values = {{"config", "{}"}}};
  }
  // Names of the files below the folder.
  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(Folder())) {
      if (entry.is_regular_file()) names.insert(fs::relative(entry.path(), Folder()).string());
    }
    return names;
  }
  static double ValueIn(const std::string& path) {
    const absl::StatusOr<Checkpoint> read = ReadCheckpoint(path);
    EXPECT_THAT(read.status(), IsOk());
    return read.ok() ? read->weights.at("w").mean().item<double>() : -1;
  }

  const TemporaryFolder folder_;
};

TEST_F(CheckpointKeeperTest, WritesTheStateOfTheMomentWhileTrainingGoesOn) {
  CheckpointKeeper keeper({.folder = Folder()});
  Checkpoint state = State(1);
  ASSERT_THAT(keeper.Save(state, {.for_good = true}), IsOk());
  state.weights["w"].fill_(7);  // the next step
  state.step = 2;
  ASSERT_THAT(keeper.Finish(state, {}).status(), IsOk());
  EXPECT_EQ(ValueIn(Folder() + "/checkpoint-1.safetensors"), 1);
  EXPECT_EQ(ValueIn(Folder() + "/checkpoint-2.safetensors"), 7);
}

TEST_F(CheckpointKeeperTest, KeepsTheLastTheBestAndEveryOneThatIsForGood) {
  CheckpointKeeper keeper({.folder = Folder(), .keep = 3});
  for (uint64_t step = 1; step <= 9; ++step)
    ASSERT_THAT(keeper.Save(State(step), {.best = step == 2 || step == 5, .for_good = step % 4 == 0}),
                IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string last, keeper.Finish(State(10), {}));
  EXPECT_EQ(last, Folder() + "/checkpoint-10.safetensors");
  EXPECT_EQ(ValueIn(Folder() + "/best.safetensors"), 5);
  EXPECT_EQ(ValueIn(Folder() + "/kept/checkpoint-4.safetensors"), 4);
  EXPECT_EQ(ValueIn(Folder() + "/kept/checkpoint-8.safetensors"), 8);
  // Of the others, those that a later state overtook before their turn were never written.
  const std::set<std::string> files = Files();
  EXPECT_EQ(files.size(), 3u + 1 + 2);
  EXPECT_TRUE(files.contains("checkpoint-10.safetensors"));
}

TEST_F(CheckpointKeeperTest, AStateThatIsTheLastAlreadyIsNotWrittenTwice) {
  CheckpointKeeper keeper({.folder = Folder()});
  ASSERT_THAT(keeper.Save(State(3), {}), IsOk());
  ASSERT_THAT(keeper.Finish(State(3), {}).status(), IsOk());
  const fs::path path = Folder() + "/checkpoint-3.safetensors";
  const auto time = fs::last_write_time(path);
  ASSERT_THAT(keeper.Finish(State(3), {}).status(), IsOk());
  EXPECT_EQ(fs::last_write_time(path), time);
}

TEST_F(CheckpointKeeperTest, WhatCannotBeWrittenIsSaidAndTriedAgain) {
  MessageBox messages;
  CheckpointKeeper keeper({.folder = Folder(), .messages = &messages});
  fs::remove(Folder());
  std::ofstream(Folder()) << "in the way";
  ASSERT_THAT(keeper.Save(State(1), {.for_good = true}), IsOk());
  ASSERT_THAT(keeper.Save(State(2), {.for_good = true}), IsOk());
  EXPECT_FALSE(keeper.Finish(State(2), {}).ok());
  fs::remove(Folder());
  fs::create_directories(Folder());
  ASSERT_THAT(keeper.Save(State(3), {}), IsOk());
  ASSERT_THAT(keeper.Finish(State(3), {}).status(), IsOk());
  EXPECT_EQ(ValueIn(Folder() + "/checkpoint-3.safetensors"), 3);
  const std::vector<std::string> said = messages.Take();
  ASSERT_EQ(said.size(), 3u);
  EXPECT_THAT(said[0], AllOf(HasSubstr("after step 1 is not saved"), HasSubstr("tries again")));
  EXPECT_THAT(said[1], HasSubstr("after step 2 is not saved"));
  EXPECT_THAT(said[2], HasSubstr("written again: step 3"));
}

TEST_F(CheckpointKeeperTest, NamesAndLeftoversOfAKilledRunArePutInOrder) {
  ASSERT_THAT(WriteCheckpoint(Folder(), State(4)), IsOk());
  std::ofstream(Folder() + "/checkpoint-6.safetensors.123.tmp") << "half";
  CheckpointKeeper keeper({.folder = Folder()});
  ASSERT_THAT(keeper.Resume(4, {.best = true, .for_good = true}), IsOk());
  EXPECT_THAT(Files(),
              ElementsAre("best.safetensors", "checkpoint-4.safetensors", "kept/checkpoint-4.safetensors"));
}

TEST(StepIntervalTest, TextsAndWhenTheyFall) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const StepInterval steps, StepInterval::Parse("6"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const StepInterval epochs, StepInterval::Parse("2epochs"));
  EXPECT_TRUE(steps.Falls(12, 5));
  EXPECT_FALSE(steps.Falls(10, 5));
  EXPECT_TRUE(epochs.Falls(10, 5));
  EXPECT_FALSE(epochs.Falls(15, 5));
  EXPECT_FALSE(StepInterval{}.Falls(10, 5));
  for (const char* text : {"", "epochs", "-1", "2 weeks", "1.5"}) {
    EXPECT_THAT(StepInterval::Parse(text).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("500 are steps, 2epochs are epochs")));
  }
}

}  // namespace
}  // namespace afterimage::trainer
