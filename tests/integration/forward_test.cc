// `afterimage-train forward` as a researcher starts it: a golden file is weights, input and reference at
// once.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::Finished;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::ProgramsTest;
using testing::RunProgram;
using testing::TeacherFile;
using testing::WriteImages;

std::string Golden(const std::string& name) {
  return absl::StrCat(AFTERIMAGE_SOURCE_DIR, "/tests/golden/", name, ".safetensors");
}

// The command line of a file, and how many tensors it compares.
struct Case {
  std::string name;
  std::string flags;  // separated by spaces
  int num_tensors;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name << " " << c.flags; }

Arguments ForwardArguments(const std::string& weights, const std::string& input, const std::string& flags) {
  Arguments arguments = {"forward", "--weights", weights, "--input", input, "--threads", "1"};
  for (absl::string_view flag : absl::StrSplit(flags, ' ', absl::SkipEmpty())) arguments.emplace_back(flag);
  return arguments;
}

class ForwardTest : public ProgramsTest {
 protected:
  static Finished Forward(const std::string& weights, const std::string& input, const std::string& flags) {
    return RunProgram(Command("afterimage-train", ForwardArguments(weights, input, flags)));
  }
};

class GoldenForwardTest : public ForwardTest, public ::testing::WithParamInterface<Case> {};

TEST_P(GoldenForwardTest, TheProgramAgreesInBothPrecisions) {
  const std::string file = Golden(GetParam().name);
  for (const std::string dtype : {"f64", "f32"}) {
    const Finished run =
        Forward(file, file, absl::StrCat(GetParam().flags, " --dtype ", dtype, " --compare ", file));
    EXPECT_EQ(run.status, 0) << run.Text();
    EXPECT_THAT(run.out,
                AllOf(HasSubstr(absl::StrCat(GetParam().num_tensors, " tensors equal those of ", file)),
                      Not(HasSubstr("OUTSIDE"))));
    EXPECT_THAT(run.err, IsEmpty());
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, GoldenForwardTest,
    ::testing::Values(
        Case{"teacher_timm_vit", "--teacher-heads 4", 10},
        Case{"teacher_timm_vit", "--teacher-heads 4 --name alt16 --view-size 16", 4},
        Case{"teacher_timm_vit_layerscale_p16", "--teacher-heads 4", 10},
        Case{"teacher_hf_clip", "--teacher-heads 4 --teacher-activation quick_gelu", 12},
        Case{"teacher_hf_clip",
             "--teacher-heads 4 --teacher-activation quick_gelu --name alt32 --view-size 32", 4},
        Case{"teacher_hf_clip_p16", "--teacher-heads 4 --teacher-activation quick_gelu", 10},
        Case{"teacher_open_clip_quickgelu", "--teacher-heads 4 --teacher-activation quick_gelu", 10},
        Case{"teacher_open_clip_gelu_p16", "--teacher-heads 4 --teacher-activation gelu", 10},
        Case{"teacher_hf_vit_dino_p16", "--teacher-heads 4", 10},
        Case{"teacher_hf_vit_dino_p16", "--teacher-heads 4 --name alt96 --view-size 96", 4},
        Case{"teacher_hf_dinov2", "--teacher-heads 4", 12},
        Case{"teacher_dino_original", "--teacher-heads 4 --teacher-family dino_original", 10},
        Case{"teacher_dino_original",
             "--teacher-heads 4 --teacher-family dino_original --name alt32 --view-size 32", 4},
        Case{"maskalign_step", "--heads 4 --teacher-heads 4 --grad all", 122},
        Case{"maskalign_step_drop_path",
             "--heads 4 --teacher-heads 4 --head norm_linear --loss-weights top3 --mask-ratio 0.75 "
             "--drop-path 0.4 "
             "--grad all",
             36},
        Case{"maskalign_step_p16_sum",
             "--heads 4 --teacher-heads 4 --fusion sum --loss-weights top2 --grad all", 33},
        Case{"maskalign_step_l14",
             "--heads 4 --teacher-heads 4 --teacher-input-size 196 --loss-weights top2 --grad all", 26}));

TEST_F(ForwardTest, TheOutputIsAFileOfTheSameNamesAndItsOwnReference) {
  const std::string file = Golden("maskalign_step");
  const std::string flags = "--heads 4 --teacher-heads 4 --grad cls_token,distill_weights --dtype f64";
  const Finished written = Forward(file, file, absl::StrCat(flags, " --output ", Path("out.safetensors")));
  ASSERT_EQ(written.status, 0) << written.Text();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto out, SafetensorsFile::Open(Path("out.safetensors")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto golden, SafetensorsFile::Open(file));
  for (const auto& [name, view] : out->tensors()) {
    ASSERT_TRUE(golden->tensors().contains(name)) << name;
    EXPECT_EQ(view.shape, golden->tensors().at(name).shape) << name;
  }
  int num_gradients = 0;
  for (const auto& [name, view] : golden->tensors()) {
    if (name.starts_with("output.")) {
      EXPECT_TRUE(out->tensors().contains(name)) << name;
    }
  }
  for (const auto& [name, view] : out->tensors()) num_gradients += name.starts_with("grad.") ? 1 : 0;
  EXPECT_EQ(num_gradients, 2);

  const Finished again =
      Forward(file, file, absl::StrCat(flags, " --rtol 0 --compare ", Path("out.safetensors")));
  EXPECT_EQ(again.status, 0) << again.Text();
}

TEST_F(ForwardTest, AnotherEpsIsOutsideTheToleranceAndEndsWithOne) {
  const std::string file = Golden("teacher_hf_clip");
  for (const std::string dtype : {"f64", "f32"}) {
    const Finished run =
        Forward(file, file,
                absl::StrCat("--teacher-heads 4 --teacher-activation quick_gelu --teacher-eps 1e-6 --dtype ",
                             dtype, " --compare ", file));
    EXPECT_EQ(run.status, 1);
    EXPECT_THAT(run.out, HasSubstr("OUTSIDE"));
    EXPECT_THAT(run.err, AllOf(HasSubstr("of 12 tensors differ"), HasSubstr(file)));
  }
}

// docs/method.md states the bound. The two libraries are made to take the paths of other processors.
TEST_F(ForwardTest, OtherProcessorsAndThreadCountsAreWithinTheBound) {
  const std::string file = Golden("teacher_hf_clip");
  const std::string reference = Path("here.safetensors");
  ASSERT_EQ(Forward(file, file,
                    absl::StrCat("--teacher-heads 4 --teacher-activation quick_gelu --output ", reference))
                .status,
            0);
  const std::string compare =
      absl::StrCat("--teacher-heads 4 --teacher-activation quick_gelu --rtol 1e-5 --compare ", reference);
  for (const std::string variable : {"ATEN_CPU_CAPABILITY=default", "MKL_CBWR=COMPATIBLE"}) {
    Arguments command = {"/usr/bin/env", variable};
    for (const std::string& argument : Command("afterimage-train", ForwardArguments(file, file, compare))) {
      command.push_back(argument);
    }
    const Finished run = RunProgram(command);
    EXPECT_EQ(run.status, 0) << variable << "\n" << run.Text();
  }
  const Finished threads = Forward(file, file, absl::StrCat(compare, " --threads 2"));
  EXPECT_EQ(threads.status, 0) << threads.Text();
}

// A run's checkpoint, its teacher in a file of its own, on bytes: what it holds of the method need not be
// said.
TEST_F(ForwardTest, ACheckpointOfPretrainRunsAsAStep) {
  WriteImages(images_, 20);
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  const Finished train = Pretrain(Path("cache"), "run", {"--epochs", "1"});
  ASSERT_EQ(train.status, 0) << train.Text();
  const std::string checkpoint = Path("run/checkpoint-1.safetensors");
  ASSERT_TRUE(std::filesystem::exists(checkpoint)) << train.Text();

  std::vector<uint8_t> bytes(2 * 28 * 28 * 3);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * i % 251);
  const std::vector<int64_t> keep = {0, 7, 48, 3, 1, 20};
  const std::vector<uint8_t> keep_bytes(reinterpret_cast<const uint8_t*>(keep.data()),
                                        reinterpret_cast<const uint8_t*>(keep.data() + keep.size()));
  ASSERT_THAT(WriteSafetensors(Path("input.safetensors"),
                               {{"input.view", {TensorType::kU8, {2, 28, 28, 3}, bytes}},
                                {"input.ids_keep", {TensorType::kI64, {2, 3}, keep_bytes}}}),
              testing::IsOk());
  const std::string out = Path("out.safetensors");
  const Finished run = Forward(checkpoint, Path("input.safetensors"),
                               absl::StrCat("--teacher ", TeacherFile(), " --grad all --output ", out));
  ASSERT_EQ(run.status, 0) << run.Text();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(out));
  for (const char* name : {"output.loss", "output.student.aligned.6", "output.teacher.target.2",
                           "grad.align.mix", "grad.cls_token", "grad.align.heads.6.weight"}) {
    EXPECT_TRUE(file->tensors().contains(name)) << name;
  }

  // What `export` makes of it is a vision transformer by itself, whose levels are the student's blocks, bit
  // for bit.
  const Finished exported = RunProgram(Command(
      "afterimage-train", {"export", "--checkpoint", checkpoint, "--out", Path("student.safetensors")}));
  ASSERT_EQ(exported.status, 0) << exported.Text();
  const Finished alone = Forward(Path("student.safetensors"), Path("input.safetensors"),
                                 absl::StrCat("--output ", Path("alone.safetensors")));
  ASSERT_EQ(alone.status, 0) << alone.Text();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto network, SafetensorsFile::Open(Path("alone.safetensors")));
  for (int block = 1; block <= 6; ++block) {
    const TensorView& wanted = file->tensors().at(absl::StrCat("output.student.block.", block));
    const TensorView& level = network->tensors().at(absl::StrCat("output.hidden.", block));
    EXPECT_EQ(level.shape, (std::vector<int64_t>{2, 4, 32}));
    EXPECT_TRUE(std::ranges::equal(level.data, wanted.data)) << block;
  }
}

TEST_F(ForwardTest, NothingToDoAndNothingThereAreRefused) {
  const std::string file = Golden("teacher_hf_clip");
  const Finished nothing = Forward(file, file, "--teacher-heads 4");
  EXPECT_EQ(nothing.status, 2);
  EXPECT_THAT(nothing.err, AllOf(HasSubstr("--output"), HasSubstr("--compare")));
  const Finished absent = Forward(Path("absent.safetensors"), file, "--teacher-heads 4 --compare " + file);
  EXPECT_EQ(absent.status, 1);
  EXPECT_THAT(absent.err, HasSubstr(Path("absent.safetensors")));
  const Finished heads = Forward(file, file, "--compare " + file);
  EXPECT_EQ(heads.status, 2);
  EXPECT_THAT(heads.err, HasSubstr("number of heads"));
  EXPECT_THAT(heads.out, IsEmpty());
}

}  // namespace
}  // namespace afterimage
