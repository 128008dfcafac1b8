// Two teachers, one student, with the programs themselves.
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Finished;
using ::testing::HasSubstr;
using testing::ProgramsTest;
using testing::Server;
using testing::WriteImages;

class SeveralTeachersTest : public ProgramsTest {
 protected:
  // A cache with the set "first" of the committed teacher, and a second teacher.
  void SetUp() override {
    WriteImages(images_, 48);
    const Finished filled = Precompute(Path("cache"), {"--view-seeds", "2", "--name", "first"});
    ASSERT_EQ(filled.status, 0) << filled.Text();
    const Finished trained = Pretrain(Path("cache"), "student", {"--steps", "3"});
    ASSERT_EQ(trained.status, 0) << trained.Text();
    const Finished exported =
        testing::RunProgram(Command("afterimage-train", {"export", "--checkpoint", Path("student"), "--out",
                                                         Path("second.safetensors")}));
    ASSERT_EQ(exported.status, 0) << exported.Text();
  }
  Finished PrecomputeSecond(const testing::Arguments& more) const {
    testing::Arguments arguments = {"--teacher", Path("second.safetensors"), "--view-seeds", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Precompute(Path("cache"), arguments);
  }
};

TEST_F(SeveralTeachersTest, TrainFromFolderAndServerWithTheMasksOfTheFirst) {
  const Finished all = PrecomputeSecond({"--name", "second"});
  ASSERT_EQ(all.status, 0) << all.Text();
  const Finished named = PrecomputeSecond({"--name", "named", "--importance-from", "first", "--tokens",
                                           "visible", "--mask-ratio", "0.7", "--masks", "2"});
  ASSERT_EQ(named.status, 0) << named.Text();
  EXPECT_THAT(Afterimage({"info", "--cache", Path("cache"), "--set", "named"}).Text(),
              HasSubstr("masks    from the importance of feature "));

  const Finished picked = Pretrain(Path("cache"), "picked", {"--set", "first,second"});
  ASSERT_EQ(picked.status, 0) << picked.Text();
  const auto expected = Losses("picked");
  ASSERT_FALSE(expected.empty());
  const Finished chosen = Pretrain(Path("cache"), "chosen", {"--set", "first,named"});
  ASSERT_EQ(chosen.status, 0) << chosen.Text();
  Server server(Path("cache"));
  const Finished served = Pretrain(server.address(), "served", {"--set", "first,named"});
  ASSERT_EQ(served.status, 0) << served.Text();
  EXPECT_EQ(Losses("served"), Losses("chosen"));
  // Digests tell the sets apart; losses are the same numbers.
  const auto losses = [](std::vector<std::string> lines) {
    std::erase_if(lines, [](const std::string& line) { return line.find("0x") == std::string::npos; });
    return lines;
  };
  EXPECT_EQ(losses(Losses("chosen")), losses(expected));
}

TEST_F(SeveralTeachersTest, ASourceOfImportanceThatIsNotThereOrNotCompleteIsSaid) {
  EXPECT_THAT(PrecomputeSecond({"--importance-from", "nothing"}).Text(),
              AllOf(HasSubstr("--importance-from nothing"), HasSubstr("first")));
  const Finished incomplete = PrecomputeSecond({"--importance-from", "first", "--view-seeds", "3"});
  EXPECT_EQ(incomplete.status, 1);
  EXPECT_THAT(incomplete.Text(),
              AllOf(HasSubstr("/2 is not in the set"), HasSubstr("precompute that set first")));
  const Finished views = PrecomputeSecond({"--importance-from", "first", "--min-area", "0.5"});
  EXPECT_EQ(views.status, 1);
  EXPECT_THAT(views.Text(), HasSubstr("both teachers must see the same ones"));
}

}  // namespace
}  // namespace afterimage
