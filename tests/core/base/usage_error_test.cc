#include "core/base/usage_error.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(NearestNameTest, FindsMisspelledNamesOnly) {
  const std::vector<std::string> names = {"--cache", "--set", "--view-seeds", "--help"};
  EXPECT_EQ(NearestName("--cahce", names), "--cache");
  EXPECT_EQ(NearestName("--view-seed", names), "--view-seeds");
  EXPECT_EQ(NearestName("--sets", names), "--set");
  EXPECT_EQ(NearestName("--bogus", names), "");
  EXPECT_EQ(NearestName("x", names), "");
  EXPECT_EQ(NearestName("--cache", {}), "");
}

TEST(UnknownWordTextTest, NamesTheWordAndWhatThereIs) {
  EXPECT_EQ(UnknownWordText("afterimage info", "--cahce=x", {"--cache"}, {}),
            "afterimage info: unknown flag \"--cahce=x\"; did you mean \"--cache\"?");
  EXPECT_EQ(UnknownWordText("afterimage", "inof", {"--help"}, {"info", "get"}),
            "afterimage: unknown command \"inof\"; did you mean \"info\"?; commands: info, get");
  EXPECT_EQ(UnknownWordText("afterimage", "paint", {"--help"}, {"info", "get"}),
            "afterimage: unknown command \"paint\"; commands: info, get");
  EXPECT_EQ(UnknownWordText("afterimage-server", "word", {"--cache"}, {}),
            "afterimage-server: unknown argument \"word\"");
}

TEST(PlainRangeTextTest, TheLargestDoubleIsNotShown) {
  std::string largest = "1797693134862315708145274237317043567980705675258449965989174768031572607800285387";
  largest += std::string(200, '0') + ".000000";
  EXPECT_EQ(PlainRangeText("--batch-size: Value 0 not in range 0.000000 to " + largest),
            "--batch-size: 0 is too small");
  const std::string bounded = "--mask-ratio: Value 2 not in range 0 to 1";
  EXPECT_EQ(PlainRangeText(bounded), bounded);
  EXPECT_EQ(PlainRangeText("--out is required"), "--out is required");
}

}  // namespace
}  // namespace afterimage
