#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/image/decode.h"
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

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

// `num_images` grey pictures of 3 x 2; picture i is made of the byte 'a' + i.
std::string Images(uint32_t num_images) {
  std::string content = std::string("\0\0\x08\x03", 4) + BigEndian(num_images) + BigEndian(2) + BigEndian(3);
  for (uint32_t i = 0; i < num_images; ++i) content += std::string(6, static_cast<char>('a' + i));
  return content;
}

std::string Labels(const std::string& labels) {
  return std::string("\0\0\x08\x01", 4) + BigEndian(static_cast<uint32_t>(labels.size())) + labels;
}

void Write(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

void WriteGzip(const fs::path& path, const std::string& content) {
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_EQ(gzwrite(file, content.data(), static_cast<unsigned>(content.size())),
            static_cast<int>(content.size()));
  ASSERT_EQ(gzclose(file), Z_OK);
}

std::string ReadAll(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(IdxSourceTest, GivesPgmFiles) {
  const TemporaryFolder folder;
  Write(folder / "train-images-idx3-ubyte", Images(3));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "train-images-idx3-ubyte"));
  ASSERT_EQ(source->size(), 3u);
  EXPECT_EQ(source->entry(1).name, "train-images-idx3-ubyte#1");
  EXPECT_EQ(source->entry(1).label, std::nullopt);
  EXPECT_THAT(source->class_names(), IsEmpty());
  // These bytes are hashed into image keys: frozen.
  EXPECT_THAT(source->Read(1), IsOkAndHolds(std::string("P5\n3 2\n255\nbbbbbb")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const RgbImage image, DecodeImage(AsBytes(*source->Read(2))));
  EXPECT_EQ(image.width, 3u);
  EXPECT_EQ(image.pixels, std::vector<uint8_t>(18, 'c'));
}

TEST(IdxSourceTest, GivesPpmFilesOfColourPictures) {
  const TemporaryFolder folder;
  Write(folder / "images-idx4-ubyte", std::string("\0\0\x08\x04", 4) + BigEndian(2) + BigEndian(1) +
                                          BigEndian(2) + BigEndian(3) + "rgbRGBxyzXYZ");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "images-idx4-ubyte"));
  EXPECT_THAT(source->Read(1), IsOkAndHolds(std::string("P6\n2 1\n255\nxyzXYZ")));
}

TEST(IdxSourceTest, APackedFileIsUnpackedInTheFolderForTemporaryOnesAndLeavesNothing) {
  const TemporaryFolder folder;
  WriteGzip(folder / "images-idx3-ubyte.gz", Images(3));
  fs::create_directory(folder / "temporary");
  setenv("TMPDIR", (folder / "temporary").c_str(), /*overwrite=*/1);
  AFTERIMAGE_EXPECT_OK(OpenImageSource(folder / "images-idx3-ubyte.gz").status());
  EXPECT_TRUE(fs::is_empty(folder / "temporary"));
  setenv("TMPDIR", (folder / "nowhere").c_str(), /*overwrite=*/1);
  EXPECT_THAT(OpenImageSource(folder / "images-idx3-ubyte.gz").status(),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("TMPDIR"), HasSubstr("images-idx3-ubyte.gz"))));
  unsetenv("TMPDIR");
}

TEST(IdxSourceTest, ReadsGzipAndLabels) {
  const TemporaryFolder folder;
  WriteGzip(folder / "t10k-images-idx3-ubyte.gz", Images(3));
  WriteGzip(folder / "t10k-labels-idx1-ubyte.gz", Labels(std::string("\x04\0\x01", 3)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto source, OpenImageSource(folder / "t10k-images-idx3-ubyte.gz"));
  ASSERT_EQ(source->size(), 3u);
  EXPECT_THAT(source->class_names(), ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_EQ(source->entry(0).label, 4);
  EXPECT_EQ(source->entry(2).label, 1);
  EXPECT_THAT(source->Read(2), IsOkAndHolds(std::string("P5\n3 2\n255\ncccccc")));
  // The folder holds one images file: it will do.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(source, OpenImageSource(folder.path(), 2));
  EXPECT_EQ(source->size(), 2u);
  EXPECT_THAT(source->class_names(), ElementsAre("0", "1", "2", "3", "4"));
  EXPECT_THAT(source->Read(1), IsOkAndHolds(std::string("P5\n3 2\n255\nbbbbbb")));
}

TEST(IdxSourceTest, ListsTheFilesWhereAFolderHasSeveral) {
  const TemporaryFolder folder;
  WriteGzip(folder / "t10k-images-idx3-ubyte.gz", Images(3));
  Write(folder / "train-images-idx3-ubyte", Images(3));
  EXPECT_THAT(OpenImageSource(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr((folder / "t10k-images-idx3-ubyte.gz").string()),
                             HasSubstr((folder / "train-images-idx3-ubyte").string()))));
}

TEST(IdxSourceTest, RefusesLabelsInThePlaceOfImages) {
  const TemporaryFolder folder;
  Write(folder / "train-labels-idx1-ubyte", Labels("12"));
  EXPECT_THAT(OpenImageSource(folder / "train-labels-idx1-ubyte"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("labels")));
  Write(folder / "train-images-idx3-ubyte", Images(3));
  EXPECT_THAT(OpenImageSource(folder / "train-images-idx3-ubyte"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 labels for 3 images")));
}

TEST(IdxSourceTest, NoticesTruncatedFiles) {
  const TemporaryFolder folder;
  const std::string whole = Images(3);
  const fs::path path = folder / "images-idx3-ubyte";
  for (size_t length = 4; length < whole.size(); ++length) {
    Write(path, whole.substr(0, length));
    EXPECT_THAT(OpenImageSource(path),
                StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path.string()), HasSubstr("offset"))))
        << length;
  }
  Write(path, whole + "x");
  EXPECT_THAT(OpenImageSource(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer")));
}

TEST(IdxSourceTest, NoticesTruncatedGzipFiles) {
  const TemporaryFolder folder;
  const fs::path path = folder / "images-idx3-ubyte.gz";
  WriteGzip(path, Images(20));
  const std::string packed = ReadAll(path);
  for (size_t cut = 1; cut < packed.size() - 30; ++cut) {
    Write(path, packed.substr(0, packed.size() - cut));
    EXPECT_THAT(OpenImageSource(path),
                StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path.string()), HasSubstr("offset"))))
        << cut;
  }
  std::string damaged = packed;
  damaged[packed.size() - 6] ^= 1;  // in the checksum
  Write(path, damaged);
  EXPECT_THAT(OpenImageSource(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path.string())));
}

TEST(IdxSourceTest, NoticesACutAfterOpening) {
  const TemporaryFolder folder;
  const fs::path path = folder / "images-idx3-ubyte";
  Write(path, Images(3));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(path));
  fs::resize_file(path, 20);
  EXPECT_THAT(source->Read(2), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path.string())));
}

TEST(IdxSourceTest, RefusesDamagedDimensions) {
  const TemporaryFolder folder;
  const fs::path path = folder / "images-idx3-ubyte";
  Write(path, std::string("\0\0\x08\x03", 4) + BigEndian(1) + BigEndian(0xffffffff) + BigEndian(0xffffffff));
  EXPECT_THAT(OpenImageSource(path), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4294967295")));
  Write(path, std::string("\0\0\x08\x03", 4) + BigEndian(0xffffffff) + BigEndian(65500) + BigEndian(4000));
  EXPECT_THAT(OpenImageSource(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("holds 0")));
  WriteGzip(folder / "images-idx3-ubyte.gz",
            std::string("\0\0\x08\x03", 4) + BigEndian(0xffffffff) + BigEndian(65500) + BigEndian(4000));
  EXPECT_THAT(OpenImageSource(folder / "images-idx3-ubyte.gz"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("cut short")));
}

TEST(IdxSourceTest, OpensFashionMnist) {
  const fs::path folder = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(folder)) GTEST_SKIP() << "the Debian package dataset-fashion-mnist is not installed";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "train-images-idx3-ubyte.gz"));
  EXPECT_EQ(source->size(), 60000u);
  EXPECT_EQ(source->class_names().size(), 10u);
  EXPECT_EQ(source->entry(0).label, 9);
  EXPECT_EQ(source->Read(59999)->size(), 13u + 28 * 28);
  EXPECT_THAT(OpenImageSource(folder),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("t10k-images-idx3-ubyte.gz")));
}

}  // namespace
}  // namespace afterimage
