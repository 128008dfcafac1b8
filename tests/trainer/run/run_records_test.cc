#include "trainer/run/run_records.h"

#include <sys/resource.h>

#include <csignal>
#include <vector>

#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/run/event_reader.h"
#include "trainer/run/append_file.h"
#include "trainer/run/best_epoch.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::EventFiles;
using ::testing::HasSubstr;
using testing::ReadEvent;
using testing::ReadEventFile;
using testing::ReadEventFolder;
using ::testing::SizeIs;
using ::testing::StartsWith;

class RunRecordsTest : public ::testing::Test {
 protected:
  std::unique_ptr<RunRecords> Open(uint64_t next_step, uint64_t last_step = 0) {
    auto records =
        RunRecords::Open({.folder = folder_.path().string(), .next_step = next_step, .last_step = last_step});
    EXPECT_THAT(records.status(), IsOk());
    return *std::move(records);
  }
  std::vector<std::string> Lines() {
    const auto text = ReadFile(folder_ / "metrics.jsonl");
    EXPECT_THAT(text.status(), IsOk());
    return absl::StrSplit(text.value_or(""), '\n', absl::SkipEmpty());
  }
  // Steps of the points of a curve, as TensorBoard would show them.
  std::vector<int64_t> Steps(const std::string& tag) {
    std::vector<int64_t> steps;
    for (const ReadEvent& event : ReadEventFolder(folder_.path().string())) {
      if (event.tag == tag) steps.push_back(event.step);
    }
    return steps;
  }

  const TemporaryFolder folder_;
};

TEST_F(RunRecordsTest, AStepIsALineAndAPointOfEachCurve) {
  {
    const auto records = Open(0);
    records->Step(
        {.step = 0, .epoch = 0.5, .loss = 0.75f, .lr = 1e-3, .num_samples = 8, .gradient_norm = 2.0});
    records->EndOfEpoch(0, 0, "abcd", 0.75);
    records->Values(0, std::vector<NamedValue>{{"test/top1", 0.5}});
    ASSERT_THAT(records->Flush(), IsOk());
  }
  EXPECT_THAT(Lines(),
              ElementsAre(HasSubstr("\"loss\":0.75,\"loss_hex\":\"0x1.8p-1\""),
                          "{\"step\":0,\"end_of_epoch\":0,\"running_digest\":\"abcd\",\"mean_loss\":0.75}",
                          "{\"step\":0,\"test/top1\":0.5}"));
  const std::vector<std::string> files = EventFiles(folder_.path().string());
  ASSERT_THAT(files, SizeIs(1));
  const std::vector<ReadEvent> events = ReadEventFile(files[0]);
  ASSERT_THAT(events, SizeIs(2 + 6 + 2));
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_TRUE(events[1].is_start);
  EXPECT_EQ(events[2].tag, "train/loss");
  EXPECT_EQ(events[2].scalar, 0.75f);
  EXPECT_EQ(events[7].tag, "train/gradient_norm");
  EXPECT_EQ(events[7].scalar, 2.0f);
  EXPECT_EQ(events[9].tag, "test/top1");
}

TEST_F(RunRecordsTest, AStepHasItsStallLedgerWhereItIsKnown) {
  const auto records = Open(0);
  records->Step({.step = 0, .stalls = std::vector<StallRow>{}, .step_seconds = 0.25});
  records->Step(
      {.step = 1,
       .stalls = std::vector<StallRow>{{2, "grpc://a:1", {StallPart::kDisk, absl::Milliseconds(125)}}},
       .step_seconds = 0.5});
  records->Step({.step = 2});
  ASSERT_THAT(records->Flush(), IsOk());
  const std::string row = R"({"disk":0.125,"rank":2,"server":"grpc://a:1"})";
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr(R"("step_s":0.250000,"stall_s":[])"),
                                   HasSubstr(R"("step_s":0.500000,"stall_s":[)" + row + "]}"),
                                   ::testing::Not(HasSubstr("stall_s"))));
}

TEST_F(RunRecordsTest, AStepSaysHowManyRecordsASecondServerWasAskedFor) {
  const auto records = Open(0);
  records->Step({.step = 0, .hedges = {.asked = 3, .won = 2}});
  records->Step({.step = 1});
  ASSERT_THAT(records->Flush(), IsOk());
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr(R"(,"hedges":{"asked":3,"won":2})"),
                                   ::testing::Not(HasSubstr("hedges"))));
}

TEST_F(RunRecordsTest, AResumedPartBeginsAFileOfItsOwnAtItsStepWithinTheSameSecond) {
  for (const uint64_t first : {0, 3, 2}) {
    const auto records = Open(first);
    for (uint64_t step = first; step < first + 4; ++step) records->Step({.step = step, .num_samples = 1});
    ASSERT_THAT(records->Flush(), IsOk());
  }
  const std::vector<std::string> files = EventFiles(folder_.path().string());
  ASSERT_THAT(files, SizeIs(3));
  for (size_t i = 0; i < files.size(); ++i) {
    const std::vector<ReadEvent> events = ReadEventFile(files[i]);
    EXPECT_TRUE(events[1].is_start);
    EXPECT_EQ(events[1].step, i == 0 ? 0 : i == 1 ? 3 : 2);
  }
  EXPECT_THAT(Steps("train/loss"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(Lines(), SizeIs(6));
}

TEST_F(RunRecordsTest, AResumedRunThatComesToAnotherRunningDigestSaysSo) {
  {
    const auto records = Open(0);
    for (uint64_t step = 0; step < 6; ++step) {
      records->Step({.step = step});
      if (step % 2 == 1) records->EndOfEpoch(step, step / 2, absl::StrCat("digest ", step / 2), 0.5);
    }
    ASSERT_THAT(records->Flush(), IsOk());
  }
  std::string told;
  MessageBox messages;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const auto records,
      RunRecords::Open({.folder = folder_.path().string(), .next_step = 2, .messages = &messages}));
  records->EndOfEpoch(3, 1, "digest 1", 0.5);
  records->EndOfEpoch(5, 2, "another", 0.5);
  records->EndOfEpoch(7, 3, "digest 3", 0.5);  // it had not come so far
  for (const std::string& text : messages.Take()) told += text + "\n";
  EXPECT_THAT(told, AllOf(HasSubstr("epoch 2"), HasSubstr("another"), HasSubstr("digest 2"),
                          ::testing::Not(HasSubstr("epoch 1")), ::testing::Not(HasSubstr("epoch 3"))));
}

TEST_F(RunRecordsTest, ADamagedLogIsNoObstacleToGoingOn) {
  AFTERIMAGE_ASSERT_OK(WriteFileAtomically((folder_ / "metrics.jsonl").string(),
                                           "{\"step\":0,\"loss\":1}\n{\"step\":\"x\"}\n[1]\nno JSON\n"
                                           "{\"step\":9,\"end_of_epoch\":0,\"running_digest\":7}\n"));
  const auto records = Open(2);
  records->EndOfEpoch(9, 0, "digest", 0.5);
  ASSERT_THAT(records->Flush(), IsOk());
  const auto log = ReadFile((folder_ / "metrics.jsonl").string());
  ASSERT_THAT(log, IsOk());
  EXPECT_THAT(*log,
              AllOf(::testing::StartsWith("{\"step\":0,\"loss\":1}\n{\"step\":9,"), HasSubstr("\"digest\"")));
}

TEST_F(RunRecordsTest, PicturesComeBackAsTheyWereEncoded) {
  const auto records = Open(7);
  RgbImage image{2, 1, {255, 0, 0, 0, 0, 255}};
  ASSERT_THAT(records->Image(7, "samples", image), IsOk());
  EXPECT_THAT(records->Image(7, "samples", RgbImage{}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("PNG")));
  ASSERT_THAT(records->Flush(), IsOk());
  const std::vector<ReadEvent> events = ReadEventFolder(folder_.path().string());
  ASSERT_THAT(events, SizeIs(3));
  EXPECT_EQ(events[2].tag, "samples");
  EXPECT_EQ(events[2].step, 7);
  EXPECT_THAT(events[2].png, StartsWith("\x89PNG"));
}

TEST_F(RunRecordsTest, LongRunsHaveEveryStepInTheLogAndASpreadOfThemInTheCurves) {
  const auto records = Open(0, 60'000);
  for (uint64_t step = 0; step < 9; ++step) records->Step({.step = step, .num_samples = 1});
  ASSERT_THAT(records->Flush(), IsOk());
  EXPECT_THAT(Lines(), SizeIs(9));
  EXPECT_THAT(Steps("train/loss"), ElementsAre(0, 3, 6));
}

// A file that may not grow stands for a disk that is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

TEST(AppendFileTest, WhatCouldNotBeWrittenIsWrittenOnceLater) {
  const TemporaryFolder folder;
  const std::string path = (folder / "log").string();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, AppendFile::Create(path, "begin\n"));
  {
    const FileSizeLimit limit(10);
    file->Append("first line\n");
    EXPECT_FALSE(file->Flush().ok());
    file->Append("second line\n");
    EXPECT_FALSE(file->Flush().ok());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string part, ReadFile(path));
    EXPECT_EQ(part, "begin\nfirs");
  }
  ASSERT_THAT(file->Flush(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string whole, ReadFile(path));
  EXPECT_EQ(whole, "begin\nfirst line\nsecond line\n");
}

TEST(BestEpochTest, TheLowestMeanOverSamplesWinsAndTheFirstOfEqualOnes) {
  BestEpoch epoch;
  epoch.Add(1.0, 1);
  epoch.Add(0.5, 3);
  EXPECT_DOUBLE_EQ(epoch.End(2), 0.625);
  EXPECT_EQ(epoch.best_step(), 2u);
  epoch.Add(0.625, 4);
  epoch.End(4);
  EXPECT_EQ(epoch.best_step(), 2u);
  epoch.End(5);  // no samples at all
  EXPECT_EQ(epoch.best_step(), 2u);
  epoch.Add(0.1, 4);
  epoch.End(6);
  EXPECT_EQ(epoch.best_step(), 6u);
}

TEST(BestEpochTest, ComesBackToTheBitInTheMiddleOfAnEpoch) {
  BestEpoch epoch;
  epoch.Add(0.7, 5);
  epoch.End(1);
  epoch.Add(1.0 / 3, 3);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(BestEpoch other, BestEpoch::Parse(epoch.Serialize()));
  EXPECT_EQ(other.best_step(), 1u);
  for (BestEpoch* const e : {&epoch, &other}) e->Add(0.1, 4);
  EXPECT_EQ(other.End(2), epoch.End(2));
  for (const char* text :
       {"", "{}", "{\"sum\":\"x\",\"samples\":1}", "{\"sum\":\"1\",\"samples\":1,\"best_step\":3}"})
    EXPECT_THAT(BestEpoch::Parse(text).status(), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
}

}  // namespace
}  // namespace afterimage::trainer
