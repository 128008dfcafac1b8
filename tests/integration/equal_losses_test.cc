// The proof of the main path with the programs themselves: students that learn from a cache, by whatever way
// it is reached, have the losses of one whose teacher runs inside the step, bit for bit.
#include "gmock/gmock.h"
#include "tests/integration/programs.h"

namespace afterimage {
namespace {

using testing::Arguments;
using testing::Finished;
using testing::ProgramsTest;
using testing::Server;
using ::testing::SizeIs;
using testing::WriteImages;
using testing::WriteUndecodableImages;

constexpr size_t kLines = 4 * 4 + 4;  // 4 epochs of 4 steps of 16 pictures, and the end of each

class EqualLossesTest : public ProgramsTest {
 protected:
  EqualLossesTest() {
    WriteImages(images_, 62);
    WriteUndecodableImages(images_);
  }
  // `teacher`: flags of the live one.
  void ExpectEqual(const Arguments& precompute, const Arguments& teacher = {}) {
    const Finished filled = Precompute(Path("cache"), precompute);
    ASSERT_EQ(filled.status, 0) << filled.Text();
    const Finished online = PretrainOnline(Path("cache"), "online", teacher);
    ASSERT_EQ(online.status, 0) << online.Text();
    const auto expected = Losses("online");
    ASSERT_THAT(expected, SizeIs(kLines));

    const Finished folder = Pretrain(Path("cache"), "folder");
    ASSERT_EQ(folder.status, 0) << folder.Text();
    EXPECT_EQ(Losses("folder"), expected);
    Server tcp(Path("cache"));
    const Finished port = Pretrain(tcp.address(), "port");
    ASSERT_EQ(port.status, 0) << port.Text();
    EXPECT_EQ(Losses("port"), expected);
    Server local(Path("cache"), "unix:" + Path("server.socket"));
    const Finished socket = Pretrain(local.address(), "socket");
    ASSERT_EQ(socket.status, 0) << socket.Text();
    EXPECT_EQ(Losses("socket"), expected);
  }
};

TEST_F(EqualLossesTest, FromFolderPortAndSocketAreThoseOfTheLiveTeacher) {
  ExpectEqual({"--view-seeds", "2"});
}

TEST_F(EqualLossesTest, OfVisibleTokensToo) {
  // The later --tokens replaces the one that the fixture gives.
  ExpectEqual({"--view-seeds", "2", "--tokens", "visible", "--masks", "2"});
}

TEST_F(EqualLossesTest, OfATeacherThatGetsTheViewsSmallerToo) {
  // The student's patches have 8 pixels, the teacher's 4: 7 x 7 of them in either case.
  ExpectEqual({"--view-seeds", "2", "--view-size", "56", "--teacher-input-size", "28"},
              {"--teacher-input-size", "28", "--view-size", "56"});
}

TEST_F(EqualLossesTest, ACacheThatAServerFilledIsTheSameAsOneThatWasFilledDirectly) {
  Server server(Path("served"));
  const Finished remote = Precompute(server.address(), {"--view-seeds", "2"});
  ASSERT_EQ(remote.status, 0) << remote.Text();
  const Finished local = Precompute(Path("cache"), {"--view-seeds", "2"});
  ASSERT_EQ(local.status, 0) << local.Text();
  ASSERT_EQ(Pretrain(server.address(), "remote").status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "local").status, 0);
  ASSERT_THAT(Losses("local"), SizeIs(kLines));
  EXPECT_EQ(Losses("remote"), Losses("local"));  // the running digests at the ends of epochs are in it
}

TEST_F(EqualLossesTest, AStudentOfAnotherSeedHasOtherLosses) {
  // That equal losses above say something.
  ASSERT_EQ(Precompute(Path("cache")).status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "first").status, 0);
  ASSERT_EQ(Pretrain(Path("cache"), "second", {"--seed", "1"}).status, 0);
  ASSERT_THAT(Losses("first"), SizeIs(kLines));
  ASSERT_THAT(Losses("second"), SizeIs(kLines));
  for (size_t i = 0; i < kLines; ++i) EXPECT_NE(Losses("first")[i], Losses("second")[i]) << i;
}

}  // namespace
}  // namespace afterimage
