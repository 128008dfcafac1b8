// What the programs say, and with what they end, when they are given something wrong.
#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/usage_error.h"
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
using testing::Server;
using ::testing::SizeIs;
using testing::TeacherFile;
using testing::WriteImages;
using testing::WriteUndecodableImages;

class BadInputTest : public ProgramsTest {
 protected:
  // One line on standard error, nothing on standard output, exit status 1.
  static void ExpectOneClearLine(const Finished& finished, const std::string& program) {
    EXPECT_EQ(finished.status, 1) << finished.Text();
    EXPECT_THAT(finished.err, HasSubstr(program + ": "));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  }
  // --quiet: without the bar that counts the images.
  Finished PrecomputeOf(const std::string& images, const std::string& teacher = TeacherFile()) const {
    return RunProgram(
        Command("afterimage-precompute", {"--images", images, "--teacher", teacher, "--cache", Path("cache"),
                                          "--threads", "1", "--teacher-threads", "1", "--quiet"}));
  }
};

TEST_F(BadInputTest, EveryProgramTellsItsVersion) {
  const std::string version = Afterimage({"--version"}).out;
  EXPECT_THAT(version, ::testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
  for (const char* const program : {"afterimage-precompute", "afterimage-server", "afterimage-train"}) {
    const Finished told = RunProgram(Command(program, {"--version"}));
    EXPECT_EQ(told.status, 0) << told.Text();
    EXPECT_EQ(told.out, version) << program;
  }
}

using Tensors = std::map<std::string, TensorView>;

TEST_F(BadInputTest, PicturesThatCannotBeDecodedAreRecordedAndAllOthersComputed) {
  WriteImages(images_, 20);
  WriteUndecodableImages(images_);
  const Finished precompute = Precompute(Path("cache"), {"--view-seeds", "2"});
  ASSERT_EQ(precompute.status, 0) << precompute.Text();
  const Json info = Info(Path("cache"));
  ASSERT_TRUE(info.is_object());
  EXPECT_EQ(info["records"], 40);
  EXPECT_EQ(info["failed"], 4);
  const Finished failures = Afterimage({"info", "--cache", Path("cache"), "--failures"});
  EXPECT_THAT(failures.out, AllOf(HasSubstr("a/text.png: not a JPEG, PNG"),
                                  HasSubstr("b/cut.jpg: truncated or corrupt JPEG")));
  // They do not stop a training either; a batch has fewer samples.
  const Finished train = Pretrain(Path("cache"), "run", {"--batch-size", "22", "--epochs", "2"});
  ASSERT_EQ(train.status, 0) << train.Text();
  EXPECT_THAT(train.out, HasSubstr("4 samples of undecodable pictures"));
  EXPECT_THAT(Losses("run")[0], HasSubstr(" 20 samples"));
}

TEST_F(BadInputTest, AFolderWithoutAnyPictureThatDecodesIsRefused) {
  WriteUndecodableImages(images_);
  const Finished precompute = PrecomputeOf(images_);
  ExpectOneClearLine(precompute, "afterimage-precompute");
  EXPECT_THAT(precompute.err, HasSubstr("none of the images to calibrate on can be decoded"));
}

TEST_F(BadInputTest, AnEmptyFolderAndAnAbsentOneAreNamed) {
  std::filesystem::create_directory(Path("empty"));
  const Finished empty = PrecomputeOf(Path("empty"));
  ExpectOneClearLine(empty, "afterimage-precompute");
  EXPECT_THAT(empty.err, AllOf(HasSubstr("no images in"), HasSubstr(Path("empty"))));
  const Finished absent = PrecomputeOf(Path("absent"));
  ExpectOneClearLine(absent, "afterimage-precompute");
  EXPECT_THAT(absent.err, AllOf(HasSubstr(Path("absent")), HasSubstr("does not exist")));
  EXPECT_FALSE(std::filesystem::exists(Path("cache")));
}

TEST_F(BadInputTest, ATarThatIsCutShortNamesTheMember) {
  WriteImages(images_, 20);
  const std::string tar = Path("images.tar");
  ASSERT_EQ(RunProgram({"/bin/tar", "-C", images_, "-cf", tar, "a", "b"}).status, 0);
  std::filesystem::resize_file(
      tar, 512 + 1536 * 6 + 700);  // the folder's header, six members, and a part of the next
  const Finished precompute = PrecomputeOf(tar);
  ExpectOneClearLine(precompute, "afterimage-precompute");
  EXPECT_THAT(precompute.err, AllOf(HasSubstr(tar + " is cut short"), HasSubstr(".pgm")));
}

TEST_F(BadInputTest, WhatTheTeacherCannotGiveIsRefusedBeforeACacheIsMade) {
  WriteImages(images_, 4);
  const auto refusal = [&](const Arguments& flags) {
    Arguments command = Command("afterimage-precompute", {"--images", images_, "--teacher", TeacherFile(),
                                                          "--cache", Path("cache"), "--quiet"});
    command.insert(command.end(), flags.begin(), flags.end());
    const Finished precompute = RunProgram(command);
    ExpectOneClearLine(precompute, "afterimage-precompute");
    EXPECT_FALSE(std::filesystem::exists(Path("cache")));
    return precompute.err;
  };
  EXPECT_THAT(refusal({"--levels", "3,7"}), AllOf(HasSubstr("'7'"), HasSubstr("1 to 6")));
  EXPECT_THAT(refusal({"--mask-ratio", "0.99"}), AllOf(HasSubstr("none of 49"), HasSubstr("smaller")));
  EXPECT_THAT(refusal({"--view-size", "30"}),
              AllOf(HasSubstr("patches of 4 pixels"), HasSubstr("multiple of 4")));
  EXPECT_THAT(refusal({"--teacher-input-size", "24"}),
              AllOf(HasSubstr("grid of 6 x 6"), HasSubstr("multiple of 6")));
  EXPECT_THAT(refusal({"--teacher-heads", "7"}),
              AllOf(HasSubstr("7 heads do not divide"), HasSubstr("choose")));
}

TEST_F(BadInputTest, WeightsThatLackATensorHaveOneTooManyOrOfAnotherShapeAreRefusedByName) {
  WriteImages(images_, 4);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, SafetensorsFile::Open(TeacherFile()));
  const std::string name = "blocks.2.mlp.fc1.weight";
  ASSERT_EQ(teacher->tensors().count(name), 1u);
  const TensorView whole = teacher->tensors().at(name);
  const std::string file = Path("changed.safetensors");
  const auto refusal = [&](const Tensors& tensors) {
    EXPECT_THAT(WriteSafetensors(file, tensors, teacher->metadata()), testing::IsOk());
    const Finished precompute = PrecomputeOf(images_, file);
    ExpectOneClearLine(precompute, "afterimage-precompute");
    EXPECT_THAT(precompute.err, HasSubstr(file));
    return precompute.err;
  };
  const std::string shape = absl::StrCat("[", whole.shape[0], ", ", whole.shape[1], "]");

  Tensors missing = teacher->tensors();
  missing.erase(name);
  EXPECT_THAT(refusal(missing), HasSubstr(name));

  Tensors extra = teacher->tensors();
  extra["blocks.2.mlp.fc9.weight"] = whole;
  EXPECT_THAT(refusal(extra), AllOf(HasSubstr("blocks.2.mlp.fc9.weight"), HasSubstr(shape)));

  Tensors turned = teacher->tensors();
  std::swap(turned[name].shape[0], turned[name].shape[1]);
  EXPECT_THAT(refusal(turned),
              AllOf(HasSubstr(name), HasSubstr(shape),
                    HasSubstr(absl::StrCat("[", whole.shape[1], ", ", whole.shape[0], "]"))));
}

TEST_F(BadInputTest, ACutOrAbsentWeightsFileIsNamed) {
  WriteImages(images_, 4);
  std::filesystem::copy_file(TeacherFile(), Path("cut.safetensors"));
  std::filesystem::resize_file(Path("cut.safetensors"), 100'000);
  const Finished cut = PrecomputeOf(images_, Path("cut.safetensors"));
  ExpectOneClearLine(cut, "afterimage-precompute");
  EXPECT_THAT(cut.err, HasSubstr(Path("cut.safetensors")));
  const Finished absent = PrecomputeOf(images_, Path("absent.safetensors"));
  ExpectOneClearLine(absent, "afterimage-precompute");
  EXPECT_THAT(absent.err, HasSubstr(Path("absent.safetensors")));
}

TEST_F(BadInputTest, OfTwoSetsOneMustBeNamedAndBothAreListed) {
  WriteImages(images_, 20);
  ASSERT_EQ(Precompute(Path("cache"), {"--name", "first"}).status, 0);
  ASSERT_EQ(Precompute(Path("cache"), {"--codec", "f16", "--name", "second"}).status, 0);
  Server server(Path("cache"));
  for (const std::string& cache : {Path("cache"), server.address()}) {
    const Finished train = Pretrain(cache, "run");
    EXPECT_EQ(train.status, 1) << train.Text();
    EXPECT_THAT(train.err, AllOf(HasSubstr("--set"), HasSubstr("first"), HasSubstr("second")));
    const Finished verify = Afterimage({"verify", "--cache", cache});
    EXPECT_EQ(verify.status, 1) << verify.Text();
    EXPECT_THAT(verify.err, AllOf(HasSubstr("--set"), HasSubstr("first"), HasSubstr("second")));
    EXPECT_EQ(
        Pretrain(cache, "run-" + std::to_string(cache.size()), {"--set", "second", "--epochs", "1"}).status,
        0);
  }
}

TEST_F(BadInputTest, AServerThatIsNotThereIsNamedWithTheRemedy) {
  WriteImages(images_, 4);
  std::string address;
  { address = Server(Path("cache")).address(); }  // a port that was free a moment ago
  const Finished train = Pretrain(address, "run", {"--server-timeout", "0"});
  ExpectOneClearLine(train, "afterimage-train");
  const Finished info = Afterimage({"info", "--cache", address});
  ExpectOneClearLine(info, "afterimage");
  const Finished precompute = Precompute(address, {"--quiet"});
  EXPECT_EQ(precompute.status, 1);
  for (const std::string& text : {train.err, info.err, precompute.err}) {
    EXPECT_THAT(
        text, AllOf(HasSubstr(address), HasSubstr("is it running?"), HasSubstr("afterimage-server --cache")));
  }
}

// Each program, with what it needs beside the wrong word.
TEST_F(BadInputTest, UnknownFlagsAndSubcommandsAreNamedWithAHint) {
  const struct {
    const char* program;
    Arguments arguments;
    const char* wrong;
  } cases[] = {
      {"afterimage", {"inof"}, "inof"},
      {"afterimage", {"--bogus"}, "--bogus"},
      {"afterimage", {"info", "--cahce", "x"}, "--cahce"},
      {"afterimage", {"info", "--cache", "x", "--bogus"}, "--bogus"},
      {"afterimage-precompute", {"--image", "x"}, "--image"},
      {"afterimage-precompute", {"--images", "x", "--teacher", "y", "--cache", "z", "--bogus"}, "--bogus"},
      {"afterimage-precompute", {"--images", "x", "--teacher", "y", "--cache", "z", "word"}, "word"},
      {"afterimage-server", {"--cahce", "x"}, "--cahce"},
      {"afterimage-server", {"--cache", "x", "word"}, "word"},
      {"afterimage-train", {"pretrian"}, "pretrian"},
      {"afterimage-train", {"--bogus"}, "--bogus"},
      {"afterimage-train", {"pretrain", "--uot", "x"}, "--uot"},
      {"afterimage-train", {"pretrain", "--out", "x", "--bogus", "1"}, "--bogus"},
      {"afterimage-train", {"knn", "--bogus"}, "--bogus"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(absl::StrCat(c.program, " … ", c.wrong));
    const Finished finished = RunProgram(Command(c.program, c.arguments));
    EXPECT_EQ(finished.status, kUsageExitStatus);
    EXPECT_THAT(finished.err, AllOf(HasSubstr(c.wrong), HasSubstr("--help")));
    EXPECT_THAT(finished.out, IsEmpty());
  }
  EXPECT_THAT(RunProgram(Command("afterimage", {"inof"})).err,
              AllOf(HasSubstr("did you mean \"info\"?"), HasSubstr("info, get,")));
  EXPECT_THAT(RunProgram(Command("afterimage-train", {"pretrian"})).err,
              HasSubstr("did you mean \"pretrain\"?"));
  EXPECT_THAT(RunProgram(Command("afterimage-server", {"--cahce", "x"})).err,
              HasSubstr("did you mean \"--cache\"?"));
  // What is missing is named where all words are known.
  EXPECT_THAT(RunProgram(Command("afterimage-server", {})).err, HasSubstr("--cache is required"));
}

TEST_F(BadInputTest, ValuesThatMakeNoSenseNameTheirFlag) {
  WriteImages(images_, 4);
  const auto error = [&](const Arguments& more) {
    const Finished finished = Precompute(Path("cache"), more);
    EXPECT_NE(finished.status, 0) << finished.Text();
    return finished.err;
  };
  EXPECT_THAT(error({"--levels", "7"}), HasSubstr("--levels 7"));
  EXPECT_THAT(error({"--quota", "many"}), HasSubstr("'many'"));
  EXPECT_THAT(error({"--view-seeds", "0"}), HasSubstr("--view-seeds"));
  EXPECT_THAT(error({"--view-size", "30"}), HasSubstr("30"));
}

TEST_F(BadInputTest, ACheckpointThatIsCutShortOrOfAnotherVersionIsRefusedWithTheRemedy) {
  WriteImages(images_, 32);
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "whole").status, 0);
  ASSERT_EQ(
      Pretrain(Path("cache"), "run", {"--checkpoint-every", "1", "--steps", "5", "--keep-every", "1"}).status,
      0);
  const std::string last = Path("run/checkpoint-5.safetensors"),
                    before = Path("run/checkpoint-4.safetensors");

  std::filesystem::resize_file(last, std::filesystem::file_size(last) / 2);
  const Finished cut = Pretrain(Path("cache"), "run");
  EXPECT_EQ(cut.status, 1) << cut.Text();
  EXPECT_THAT(cut.err, AllOf(HasSubstr("is not whole"), HasSubstr("remove " + last)));
  std::filesystem::remove(last);

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string sound, ReadFile(before));
  std::string other = sound;
  const std::string version = "\"afterimage.checkpoint\":\"1\"";
  ASSERT_NE(other.find(version), std::string::npos);
  other[other.find(version) + version.size() - 2] = '9';
  ASSERT_TRUE(WriteFileAtomically(before, other).ok());
  const Finished later = Pretrain(Path("cache"), "run");
  EXPECT_EQ(later.status, 1) << later.Text();
  EXPECT_THAT(later.err, AllOf(HasSubstr("format version 9, this program reads version 1"),
                               HasSubstr("the program that wrote it")));

  ASSERT_TRUE(WriteFileAtomically(before, sound).ok());
  ASSERT_EQ(Pretrain(Path("cache"), "run").status, 0);
  EXPECT_EQ(Losses("run"), Losses("whole"));
}

}  // namespace
}  // namespace afterimage
