#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/image/image_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOkAndHolds;
using testing::StatusIs;
using testing::TemporaryFolder;

void Write(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

std::vector<std::string> Names(const ImageSource& source) {
  std::vector<std::string> names;
  for (size_t i = 0; i < source.size(); ++i) names.push_back(source.entry(i).name);
  return names;
}

TEST(FolderSourceTest, ListsImagesBelowSortedByPath) {
  const TemporaryFolder folder;
  Write(folder / "b.PNG", "B");
  Write(folder / "a.jpeg", "A");
  Write(folder / "sub/deep/c.webp", "C");
  Write(folder / "notes.txt", "-");
  Write(folder / "._a.jpg", "-");
  Write(folder / ".hidden/x.jpg", "-");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path()));
  EXPECT_THAT(Names(*source), ElementsAre("a.jpeg", "b.PNG", "sub/deep/c.webp"));
  EXPECT_THAT(source->Read(2), IsOkAndHolds(std::string("C")));
  EXPECT_THAT(source->class_names(), IsEmpty());
  EXPECT_EQ(source->entry(2).label, std::nullopt);
  EXPECT_EQ(source->Description(), "folder " + folder.path().string() + " (3 images)");
}

TEST(FolderSourceTest, TakesClassesFromTheFirstFolder) {
  const TemporaryFolder folder;
  Write(folder / "dog/1.jpg", "1");
  Write(folder / "cat/z/2.jpg", "2");
  Write(folder / "cat/3.jpg", "3");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path()));
  EXPECT_THAT(source->class_names(), ElementsAre("cat", "dog"));
  EXPECT_THAT(Names(*source), ElementsAre("cat/3.jpg", "cat/z/2.jpg", "dog/1.jpg"));
  EXPECT_EQ(source->entry(0).label, 0);
  EXPECT_EQ(source->entry(1).label, 0);
  EXPECT_EQ(source->entry(2).label, 1);
}

TEST(FolderSourceTest, KeepsTheFirstEntriesAndAllClasses) {
  const TemporaryFolder folder;
  Write(folder / "a/1.jpg", "1");
  Write(folder / "b/2.jpg", "2");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path(), 1));
  EXPECT_THAT(Names(*source), ElementsAre("a/1.jpg"));
  EXPECT_THAT(source->class_names(), ElementsAre("a", "b"));
}

TEST(FolderSourceTest, FollowsLinksButNotInCircles) {
  const TemporaryFolder folder;
  Write(folder / "real/1.jpg", "1");
  fs::create_directory_symlink("real", folder / "link");
  fs::create_directory_symlink("..", folder / "real/up");
  fs::create_symlink("nowhere.jpg", folder / "dangling.jpg");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path()));
  EXPECT_THAT(Names(*source), ElementsAre("link/1.jpg", "real/1.jpg"));
}

TEST(FolderSourceTest, SaysWhatIsNotThere) {
  const TemporaryFolder folder;
  EXPECT_THAT(OpenImageSource(folder / "absent"),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("absent"), HasSubstr("looked for"))));
  EXPECT_THAT(OpenImageSource(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(folder.path().string()), HasSubstr(".jpg"))));
  Write(folder / "1.jpg", "1");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path()));
  fs::remove(folder / "1.jpg");
  EXPECT_THAT(source->Read(0), StatusIs(absl::StatusCode::kNotFound, HasSubstr("1.jpg")));
}

TEST(FolderSourceTest, RefusesFilesThatAreNoSource) {
  const TemporaryFolder folder;
  Write(folder / "one.jpg", "\xff\xd8...");
  Write(folder / "text", "hello");
  Write(folder / "empty", "");
  EXPECT_THAT(OpenImageSource(folder / "one.jpg"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("single image")));
  EXPECT_THAT(OpenImageSource(folder / "text"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no source")));
  EXPECT_THAT(OpenImageSource(folder / "empty"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no source")));
}

TEST(FolderSourceTest, RefusesAMixtureOfKinds) {
  const TemporaryFolder folder;
  Write(folder / "one.jpg", "1");
  Write(folder / "shard.tar", "1");
  EXPECT_THAT(OpenImageSource(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("1 image files"), HasSubstr("1 tar shards"))));
}

}  // namespace
}  // namespace afterimage
