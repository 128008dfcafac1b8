#include "core/base/files.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::HasSubstr;

size_t NumEntries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(FilesTest, WriteFileAtomicallyCreatesAndReplacesAndLeavesNothingBeside) {
  const TemporaryFolder folder;
  const std::string bytes("a\0b", 3);
  EXPECT_THAT(WriteFileAtomically(folder / "file", bytes), IsOk());
  EXPECT_THAT(ReadFile(folder / "file"), IsOkAndHolds(bytes));
  EXPECT_THAT(WriteFileAtomically(folder / "file", ""), IsOk());
  EXPECT_THAT(ReadFile(folder / "file"), IsOkAndHolds(""));
  EXPECT_EQ(NumEntries(folder.path()), 1u);
}

TEST(FilesTest, WriteFileAtomicallyShowsReadersOldOrNewButNeverAPart) {
  const TemporaryFolder folder;
  const std::string contents[2] = {std::string(100000, 'a'), std::string(50000, 'b')};
  ASSERT_THAT(WriteFileAtomically(folder / "file", contents[0]), IsOk());
  std::thread writer([&] {
    for (int i = 1; i <= 30; ++i) EXPECT_THAT(WriteFileAtomically(folder / "file", contents[i % 2]), IsOk());
  });
  for (int i = 0; i < 100; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(folder / "file"));
    EXPECT_TRUE(read == contents[0] || read == contents[1]) << "a part of " << read.size() << " bytes";
  }
  writer.join();
}

TEST(FilesTest, WriteFileAtomicallyIntoNoFolderIsNotFoundAndNamesIt) {
  const TemporaryFolder folder;
  EXPECT_THAT(WriteFileAtomically(folder / "none/file", "x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none/file")));
}

TEST(FilesTest, WriteFileAtomicallyOverAFolderFailsAndLeavesNothingBeside) {
  const TemporaryFolder folder;
  ASSERT_THAT(CreateDirectories(folder / "taken"), IsOk());
  EXPECT_THAT(WriteFileAtomically(folder / "taken", "x"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("rename to")));
  EXPECT_EQ(NumEntries(folder.path()), 1u);
}

TEST(FilesTest, CreateFileExclusivelyKeepsTheFirstContent) {
  const TemporaryFolder folder;
  EXPECT_THAT(CreateFileExclusively(folder / "lease", "first"), IsOkAndHolds(true));
  EXPECT_THAT(CreateFileExclusively(folder / "lease", "second"), IsOkAndHolds(false));
  EXPECT_THAT(ReadFile(folder / "lease"), IsOkAndHolds("first"));
  EXPECT_EQ(NumEntries(folder.path()), 1u);
}

TEST(FilesTest, CreateFileExclusivelyHasOneWinnerAmongThreadsAndEveryLoserSeesItsWholeContent) {
  constexpr int kNumThreads = 8;
  constexpr int kNumRounds = 20;
  const TemporaryFolder folder;
  for (int round = 0; round < kNumRounds; ++round) {
    const fs::path path = folder / absl::StrCat("lease", round);
    std::vector<int> won(kNumThreads, 0);
    std::vector<std::string> seen(kNumThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kNumThreads; ++t) {
      threads.emplace_back([&, t] {
        const absl::StatusOr<bool> created = CreateFileExclusively(path, std::string(1000, 'a' + t));
        ASSERT_THAT(created, IsOk());
        won[t] = *created ? 1 : 0;
        AFTERIMAGE_ASSERT_OK_AND_ASSIGN(seen[t], ReadFile(path));
      });
    }
    for (std::thread& thread : threads) thread.join();
    int winner = -1;
    for (int t = 0; t < kNumThreads; ++t) {
      if (won[t] == 0) continue;
      EXPECT_EQ(winner, -1) << "two threads created " << path;
      winner = t;
    }
    ASSERT_NE(winner, -1);
    for (const std::string& content : seen) EXPECT_EQ(content, std::string(1000, 'a' + winner));
  }
  EXPECT_EQ(NumEntries(folder.path()), static_cast<size_t>(kNumRounds));
}

TEST(FilesTest, ReadFileReadsAllSizesAroundTheBuffer) {
  const TemporaryFolder folder;
  for (const size_t size : {0, 1, 4095, 4096, 4097, 1000000}) {
    const std::string content(size, 'q');
    std::ofstream(folder / "file", std::ios::binary) << content;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(folder / "file"));
    EXPECT_TRUE(read == content) << "at size " << size;
  }
}

TEST(FilesTest, ReadFileReadsFilesWithoutAStatedSize) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string maps, ReadFile("/proc/self/maps"));
  EXPECT_THAT(maps, HasSubstr("[stack]"));
}

TEST(FilesTest, ReadFileErrorsNameThePath) {
  const TemporaryFolder folder;
  EXPECT_THAT(ReadFile(folder / "none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
  EXPECT_THAT(ReadFile(folder.path()),
              StatusIs(absl::StatusCode::kInternal, HasSubstr(folder.path().string())));
}

TEST(FilesTest, CreateDirectoriesMakesParentsAndAcceptsWhatExists) {
  const TemporaryFolder folder;
  EXPECT_THAT(CreateDirectories(folder / "a/b/c"), IsOk());
  EXPECT_THAT(CreateDirectories(folder / "a/b/c"), IsOk());
  EXPECT_TRUE(fs::is_directory(folder / "a/b/c"));
  ASSERT_THAT(WriteFileAtomically(folder / "file", ""), IsOk());
  EXPECT_THAT(CreateDirectories(folder / "file"), StatusIs(absl::StatusCode::kInternal, HasSubstr("/file")));
  EXPECT_THAT(CreateDirectories(folder / "file/below"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("/file/below")));
}

TEST(FilesTest, SyncTellsFilesFromFolders) {
  const TemporaryFolder folder;
  ASSERT_THAT(WriteFileAtomically(folder / "file", "x"), IsOk());
  EXPECT_THAT(SyncFile(folder / "file"), IsOk());
  EXPECT_THAT(SyncDirectory(folder.path()), IsOk());
  EXPECT_THAT(SyncDirectory(folder / "file"), StatusIs(absl::StatusCode::kInternal, HasSubstr("/file")));
  EXPECT_THAT(SyncFile(folder / "none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/none")));
}

TEST(FilesTest, ErrnoStatusMapsWhatCallersTreatDifferently) {
  EXPECT_THAT(ErrnoStatus(ENOSPC, "write", "/x"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("write /x: ")));
  EXPECT_THAT(ErrnoStatus(EDQUOT, "write", "/x"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ErrnoStatus(EACCES, "open", "/x"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(ErrnoStatus(EROFS, "open", "/x"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(ErrnoStatus(EEXIST, "create", "/x"), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(ErrnoStatus(EINTR, "read", "/x"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ErrnoStatus(EIO, "read", "/x"), StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace afterimage
