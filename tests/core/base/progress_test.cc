#include "core/base/progress.h"

#include <sstream>
#include <vector>

#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

class ProgressTest : public ::testing::Test {
 protected:
  ProgressTest() : stream_(std::tmpfile()) {}
  ~ProgressTest() override { std::fclose(stream_); }

  Progress::Options Options(Progress::Style style) {
    return {.label = "precompute",
            .unit = "images",
            .total = 200,
            .style = style,
            .line_interval = absl::ZeroDuration(),
            .bar_interval = absl::ZeroDuration(),
            .stream = stream_};
  }
  std::string Written() {
    std::string text;
    std::rewind(stream_);
    for (int c; (c = std::fgetc(stream_)) != EOF;) text.push_back(static_cast<char>(c));
    return text;
  }
  std::vector<std::string> Lines() {
    std::istringstream text(Written());
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }

  std::FILE* stream_;
};

TEST_F(ProgressTest, LinesSayHowFarAndAddTheDetail) {
  Progress progress(Options(Progress::Style::kLines));
  progress.Update(50, "decode 80 %");
  progress.Message("skipped broken.jpg");
  progress.Finish();
  EXPECT_THAT(Lines(), ElementsAre(AllOf(StartsWith("precompute: 25 %  50/200 images"), HasSubstr("images/s"),
                                         HasSubstr("ETA "), EndsWith("  decode 80 %")),
                                   "skipped broken.jpg",
                                   AllOf(StartsWith("precompute: 25 %  50/200 images"), HasSubstr("  in "))));
}

TEST_F(ProgressTest, JsonHasOneObjectALine) {
  Progress::Options options = Options(Progress::Style::kJson);
  options.already_done = 100;
  Progress progress(options);
  progress.Update(100);
  progress.Update(150, "loss \"0.5\"\n");
  progress.Message("a\tb");
  progress.Finish();
  const std::vector<std::string> lines = Lines();
  ASSERT_THAT(lines, SizeIs(4));

  const auto first = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(first["event"], "progress");
  EXPECT_EQ(first["rate"], 0.0) << "what was done before counts for no rate";
  EXPECT_TRUE(first["eta_s"].is_null());
  const auto second = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(second["label"], "precompute");
  EXPECT_EQ(second["done"], 150);
  EXPECT_EQ(second["total"], 200);
  EXPECT_GT(second["rate"], 0.0);
  EXPECT_TRUE(second["eta_s"].is_number());
  EXPECT_EQ(second["detail"], "loss \"0.5\"\n");
  EXPECT_EQ(nlohmann::json::parse(lines[2])["text"], "a\tb");
  EXPECT_EQ(nlohmann::json::parse(lines[3])["event"], "done");
}

TEST_F(ProgressTest, BarIsRedrawnInPlaceAndMessagesGoAboveIt) {
  Progress progress(Options(Progress::Style::kBar));
  progress.Update(100);
  progress.Message("hello");
  progress.Finish();
  const std::string written = Written();
  EXPECT_THAT(written, HasSubstr("\r\033[Kprecompute [============            ]  50 %  100/200 images"));
  EXPECT_THAT(written, HasSubstr("\r\033[Khello\n"));
  EXPECT_THAT(Lines(), SizeIs(2));
  EXPECT_THAT(written, EndsWith("\n"));
}

TEST_F(ProgressTest, AutomaticPrintsLinesOffATerminal) {
  Progress progress(Options(Progress::Style::kAutomatic));
  progress.Update(10);
  EXPECT_THAT(Written(), StartsWith("precompute: 5 %"));
}

TEST_F(ProgressTest, UnknownTotalShowsNeitherPercentNorEta) {
  Progress::Options options = Options(Progress::Style::kLines);
  options.total = 0;
  Progress progress(options);
  progress.Update(10);
  EXPECT_THAT(Lines(), ElementsAre(AllOf(StartsWith("precompute:  10 images  "), Not(HasSubstr("ETA")),
                                         Not(HasSubstr("%")))));
}

TEST_F(ProgressTest, KeepsToTheInterval) {
  Progress::Options options = Options(Progress::Style::kLines);
  options.line_interval = absl::Hours(1);
  Progress progress(options);
  for (int i = 0; i < 100; ++i) progress.Update(i);
  EXPECT_THAT(Lines(), IsEmpty());
  progress.Finish();
  progress.Finish();
  progress.Update(100);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("99/200 images")));
}

TEST_F(ProgressTest, SilentPrintsNothing) {
  Progress progress(Options(Progress::Style::kSilent));
  progress.Update(10);
  progress.Message("hello");
  progress.Finish();
  EXPECT_THAT(Written(), IsEmpty());
}

TEST(HumanBytesTest, CountsInPowersOf1000WithTwoDigitsAtLeast) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.0 KB");
  EXPECT_EQ(HumanBytes(12'000), "12 KB");
  EXPECT_EQ(HumanBytes(9'960), "10 KB");
  EXPECT_EQ(HumanBytes(999'600), "1.0 MB");
  EXPECT_EQ(HumanBytes(1'500'000'000), "1.5 GB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "18 EB");
}

TEST(HumanDurationTest, ShowsTheTwoLargestUnits) {
  EXPECT_EQ(HumanDuration(absl::Milliseconds(-5)), "0.0 s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(1250)), "1.2 s");
  EXPECT_EQ(HumanDuration(absl::Seconds(43)), "43 s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(59'600)), "1 min 00 s");
  EXPECT_EQ(HumanDuration(absl::Minutes(125)), "2 h 05 min");
  EXPECT_EQ(HumanDuration(absl::Hours(50)), "2 d 02 h");
  EXPECT_EQ(HumanDuration(absl::InfiniteDuration()), "for ever");
}

}  // namespace
}  // namespace afterimage
