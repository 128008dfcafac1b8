// What TensorBoard itself reads of the files that a run writes. Set AFTERIMAGE_TEACHER_PYTHON to a Python
// that has the package `tensorboard` (python3 unless said).
#include <cstdlib>
#include <vector>

#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/run/run_records.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::Finished;
using afterimage::testing::IsOk;
using afterimage::testing::RunProgram;
using afterimage::testing::TemporaryFolder;

TEST(TensorBoardTest, ReadsScalarsAndPicturesOfAStoppedAndResumedRun) {
  const TemporaryFolder folder;
  const std::string path = folder.path().string();
  for (const uint64_t first : {0, 3}) {  // the first part got to step 4 before it was killed
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records,
                                    RunRecords::Open({.folder = path, .next_step = first}));
    for (uint64_t step = first; step < first + 5; ++step) {
      records->Step({.step = step,
                     .loss = static_cast<float>(step) + (first == 0 ? 0.5f : 0.25f),
                     .lr = 0.125,
                     .num_samples = 1,
                     .gradient_norm = 3.0});
    }
    RgbImage image{3, 2, std::vector<uint8_t>(18, 100)};
    ASSERT_THAT(records->Image(first + 4, "samples", image), IsOk());
    ASSERT_THAT(records->Flush(), IsOk());
  }
  const char* const python = std::getenv("AFTERIMAGE_TEACHER_PYTHON");
  const Finished read = RunProgram({"/usr/bin/env", python != nullptr ? python : "python3",
                                    AFTERIMAGE_SOURCE_DIR "/tests/trainer/run/read_events.py", path},
                                   absl::Seconds(120));
  if (read.status == 77 || read.status == 127)
    GTEST_SKIP() << "set AFTERIMAGE_TEACHER_PYTHON to a Python with the package tensorboard: " << read.err;
  ASSERT_EQ(read.status, 0) << read.Text();
  const Json found = Json::parse(read.out);
  EXPECT_EQ(found["scalars"]["train/loss"],
            Json::parse("[[0,0.5],[1,1.5],[2,2.5],[3,3.25],[4,4.25],[5,5.25],[6,6.25],[7,7.25]]"));
  EXPECT_EQ(found["scalars"]["train/gradient_norm"].size(), 8u);
  EXPECT_EQ(found["scalars"]["train/lr"][0][1], 0.125);
  EXPECT_EQ(found["images"], Json::parse(R"({"samples":[[7,3,2,3,2]]})"))
      << "step 4 was written again without one";
}

}  // namespace
}  // namespace afterimage::trainer
