#include "cache_server/service/token_file.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::Not;
using testing::StatusIs;
using testing::TemporaryFolder;

constexpr char kReader[] = "reader-0123456789abcdef";
constexpr char kWriter[] = "writer-0123456789abcdef";
constexpr char kAdmin[] = "admin--0123456789abcdef";

class TokenFileTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) const { std::ofstream(path_) << text; }

  const TemporaryFolder folder_;
  const std::string path_ = (folder_ / "tokens").string();
};

TEST_F(TokenFileTest, KnowsItsTokensAndNoOthers) {
  Write(absl::StrCat("# comment\n\nread ", kReader, " trainers\nwrite\t", kWriter, "   # no name\nadmin ",
                     kAdmin, "\r\n"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto tokens, TokenFile::Open(path_));
  EXPECT_EQ(tokens->Summary(), "3 tokens (1 read, 1 write, 1 admin)");
  ASSERT_TRUE(tokens->Find(kReader).has_value());
  EXPECT_EQ(tokens->Find(kReader)->access, Access::kRead);
  EXPECT_EQ(tokens->Find(kReader)->name, "trainers");
  EXPECT_EQ(tokens->Find(kWriter)->access, Access::kWrite);
  EXPECT_EQ(tokens->Find(kWriter)->name, "line 4");
  EXPECT_EQ(tokens->Find(kAdmin)->access, Access::kAdmin);
  for (const std::string& wrong :
       {std::string(), std::string("read"), std::string(kReader) + "x", std::string(kReader).substr(1),
        std::string(kReader) + '\0', std::string(1 << 20, 'x')}) {
    EXPECT_FALSE(tokens->Find(wrong).has_value());
  }
}

TEST_F(TokenFileTest, RefusesAWrongLineByItsNumberAndNeverTellsWhatStandsThere) {
  for (const std::string& line :
       {absl::StrCat("reader ", kReader), std::string(kReader), std::string("read short"),
        absl::StrCat("read ", kReader, " a b"), absl::StrCat(kReader, " read")}) {
    Write(absl::StrCat("admin ", kAdmin, "\n", line, "\n"));
    EXPECT_THAT(
        TokenFile::Open(path_),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("line 2"), Not(HasSubstr("0123456789abcdef")), Not(HasSubstr("short\"")))));
  }
  Write("# nothing\n");
  EXPECT_THAT(TokenFile::Open(path_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no token")));
  EXPECT_THAT(TokenFile::Open(path_ + ".not"), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path_)));
}

TEST_F(TokenFileTest, AChangedFileIsInForceSoonAndABrokenOneIsNot) {
  Write(absl::StrCat("read ", kReader, "\n"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto tokens, TokenFile::Open(path_));
  const auto wait_for = [](const auto& condition) {
    for (int i = 0; i < 100 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(100));
    return condition();
  };
  Write(absl::StrCat("read ", kWriter, "-renewed\n"));
  EXPECT_TRUE(wait_for([&] { return !tokens->Find(kReader).has_value(); }));
  EXPECT_TRUE(tokens->Find(std::string(kWriter) + "-renewed").has_value());
  Write("rubbish\n");
  EXPECT_TRUE(wait_for([&] { return !tokens->reload_status().ok(); }));
  EXPECT_TRUE(tokens->Find(std::string(kWriter) + "-renewed").has_value());
  std::filesystem::remove(path_);
  EXPECT_TRUE(wait_for([&] { return absl::IsNotFound(tokens->reload_status()); }));
  EXPECT_TRUE(tokens->Find(std::string(kWriter) + "-renewed").has_value());
}

TEST_F(TokenFileTest, TellsWhetherEverybodyMayReadIt) {
  Write(absl::StrCat("read ", kReader, "\n"));
  std::filesystem::permissions(path_, std::filesystem::perms(0600));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto tokens, TokenFile::Open(path_));
  EXPECT_FALSE(tokens->is_world_readable());
  std::filesystem::permissions(path_, std::filesystem::perms(0644));
  EXPECT_TRUE(tokens->is_world_readable());
}

}  // namespace
}  // namespace afterimage
