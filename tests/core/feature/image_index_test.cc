#include "core/feature/image_index.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Labelled files in memory that a test may change.
class ChangingSource : public ImageSource {
 public:
  ChangingSource(std::vector<std::string> files, std::vector<int32_t> labels) : files_(std::move(files)) {
    for (size_t i = 0; i < files_.size(); ++i) entries_.push_back({absl::StrCat("file", i), labels[i]});
  }

  size_t size() const override { return files_.size(); }
  ImageEntry entry(size_t index) const override { return entries_[index]; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::StatusOr<std::string> Read(size_t index) const override {
    if (files_[index] == "gone") return absl::NotFoundError("no such file");
    return files_[index];
  }
  std::string Description() const override { return "files in memory"; }

  void Change(size_t index, std::string content) { files_[index] = std::move(content); }

 private:
  std::vector<std::string> files_;
  std::vector<ImageEntry> entries_;
  const std::vector<std::string> class_names_ = {"cat", "dog"};
};

const char kPgm[] = "P5\n1 1\n255\n\x42";

ImageKey KeyOf(const std::string& file) { return ImageKey::OfEncodedImage(AsBytes(file)); }

TEST(ImageIndexTest, EqualFilesAreOneKeyWithTheirLabels) {
  const auto source = std::make_shared<ChangingSource>(std::vector<std::string>{"a", "b", "a"},
                                                       std::vector<int32_t>{1, 0, 0});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto index, ImageIndex::Build(source, 2));
  EXPECT_EQ(index->manifest().digest(),
            Manifest::FromOccurrences({KeyOf("a"), KeyOf("a"), KeyOf("b")}).digest());
  ASSERT_TRUE(index->has_labels());
  EXPECT_THAT(index->labels().class_names, ElementsAre("cat", "dog"));
  EXPECT_THAT(index->labels().labels, KeyOf("a") < KeyOf("b") ? ElementsAre(0, 1, 0) : ElementsAre(0, 0, 1));
  EXPECT_EQ(index->NameOf(KeyOf("a")), "file0");
  EXPECT_EQ(index->NameOf(KeyOf("c")), "");
  EXPECT_THAT(index->ReadEncoded(KeyOf("b")), IsOkAndHolds(std::string("b")));
  EXPECT_THAT(index->ReadEncoded(KeyOf("c")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("files in memory")));
}

TEST(ImageIndexTest, ThreadsDoNotChangeTheManifest) {
  std::vector<std::string> files;
  for (int i = 0; i < 1000; ++i) files.push_back(absl::StrCat("picture ", i % 700));
  const auto source = std::make_shared<ChangingSource>(files, std::vector<int32_t>(1000, 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto one, ImageIndex::Build(source, 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto four, ImageIndex::Build(source, 4));
  EXPECT_EQ(one->manifest().num_keys(), 700u);
  EXPECT_EQ(one->manifest().digest(), four->manifest().digest());
  EXPECT_EQ(one->NameOf(KeyOf("picture 5")), four->NameOf(KeyOf("picture 5")));
}

TEST(ImageIndexTest, AFileThatHasChangedIsFound) {
  const auto source = std::make_shared<ChangingSource>(std::vector<std::string>{kPgm, "no picture"},
                                                       std::vector<int32_t>{0, 0});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto index, ImageIndex::Build(source, 1));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, index->ReadImage(KeyOf(kPgm)));
  EXPECT_THAT(image.pixels, ElementsAre(0x42, 0x42, 0x42));
  EXPECT_THAT(index->ReadImage(KeyOf("no picture")), StatusIs(absl::StatusCode::kInvalidArgument));
  source->Change(0, "other");
  EXPECT_THAT(index->ReadEncoded(KeyOf(kPgm)),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("file0"), HasSubstr("has changed"))));
}

TEST(ImageIndexTest, AnUnreadableFileEndsTheBuildWithItsName) {
  const auto source = std::make_shared<ChangingSource>(std::vector<std::string>{"a", "gone", "b"},
                                                       std::vector<int32_t>{0, 0, 0});
  EXPECT_THAT(ImageIndex::Build(source, 2), StatusIs(absl::StatusCode::kNotFound, HasSubstr("file1")));
}

TEST(ImageIndexTest, ProgressMayStopTheBuild) {
  const auto source =
      std::make_shared<ChangingSource>(std::vector<std::string>(1000, "a"), std::vector<int32_t>(1000, 0));
  size_t seen = 0;
  EXPECT_THAT(ImageIndex::Build(source, 1,
                                [&](size_t done) {
                                  seen = done;
                                  return false;
                                }),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_GT(seen, 0u);
  EXPECT_LT(seen, 1000u);
}

}  // namespace
}  // namespace afterimage
