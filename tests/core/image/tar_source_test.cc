#include <algorithm>
#include <cstdio>
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

void SetChecksum(std::string& header) {
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char text[8];
  std::snprintf(text, sizeof(text), "%06o", sum);
  header.replace(148, 8, std::string(text, 6) + std::string("\0 ", 2));
}

// One member, padded to blocks; the fields that a reader looks at.
std::string Member(const std::string& name, const std::string& content, char type = '0',
                   const std::string& prefix = "") {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  char size[13];
  std::snprintf(size, sizeof(size), "%011zo ", content.size());
  header.replace(124, 12, size, 12);
  header[156] = type;
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(345, prefix.size(), prefix);
  SetChecksum(header);
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512, '\0');
  return header + padded;
}

std::string Pax(const std::string& key, const std::string& value) {
  const std::string body = " " + key + "=" + value + "\n";
  size_t length = body.size() + 1;
  while (std::to_string(length).size() + body.size() != length) ++length;
  return Member("pax", std::to_string(length) + body, 'x');
}

const std::string kEnd(1024, '\0');

void Write(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

std::vector<std::string> Names(const ImageSource& source) {
  std::vector<std::string> names;
  for (size_t i = 0; i < source.size(); ++i) names.push_back(source.entry(i).name);
  return names;
}

TEST(TarSourceTest, ReadsMembersInArchiveOrder) {
  const TemporaryFolder folder;
  Write(folder / "s.tar", Member("folder/", "", '5') + Member("z.jpg", "last first") +
                              Member("readme.txt", "-") + Member("link.jpg", "", '2') +
                              Member("a.png", std::string(513, 'x')) + kEnd);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "s.tar"));
  EXPECT_THAT(Names(*source), ElementsAre("s.tar:z.jpg", "s.tar:a.png"));
  EXPECT_THAT(source->Read(0), IsOkAndHolds(std::string("last first")));
  EXPECT_THAT(source->Read(1), IsOkAndHolds(std::string(513, 'x')));
  EXPECT_THAT(source->class_names(), IsEmpty());
  EXPECT_EQ(source->Description(), "tar shard " + (folder / "s.tar").string() + " (2 images)");
}

TEST(TarSourceTest, ReadsLongNamesOfAllKinds) {
  const TemporaryFolder folder;
  const std::string gnu(150, 'g'), pax(300, 'p');
  std::string base256 = Member("big.jpg", "four");
  base256.replace(124, 12, std::string("\x80\0\0\0\0\0\0\0\0\0\0\x04", 12));
  std::string header = base256.substr(0, 512);
  SetChecksum(header);
  base256.replace(0, 512, header);
  Write(folder / "s.tar", Member("././@LongLink", gnu + ".jpg" + '\0', 'L') + Member("cut", "G") +
                              Pax("path", "dir/" + pax + ".jpg") + Member("cut", "P") +
                              Member("name.jpg", "U", '0', "a/long/prefix") + base256 + kEnd);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "s.tar"));
  EXPECT_THAT(Names(*source), ElementsAre("s.tar:" + gnu + ".jpg", "s.tar:dir/" + pax + ".jpg",
                                          "s.tar:a/long/prefix/name.jpg", "s.tar:big.jpg"));
  EXPECT_THAT(source->Read(0), IsOkAndHolds(std::string("G")));
  EXPECT_THAT(source->Read(1), IsOkAndHolds(std::string("P")));
  EXPECT_THAT(source->Read(2), IsOkAndHolds(std::string("U")));
  EXPECT_THAT(source->Read(3), IsOkAndHolds(std::string("four")));
}

TEST(TarSourceTest, ReadsWhatTarItselfWrites) {
  const TemporaryFolder folder;
  const std::string long_name(180, 'n');
  Write(folder / "in/cat" / (long_name + ".jpg"), "long");
  Write(folder / "in/dog/1.jpg", "short");
  for (const std::string format : {"gnu", "pax", "ustar", "v7"}) {
    if (format == "v7" || format == "ustar") fs::remove(folder / "in/cat" / (long_name + ".jpg"));
    const fs::path archive = folder / (format + ".tar");
    const std::string command = "tar --sort=name --format=" + format + " -C " + (folder / "in").string() +
                                " -cf " + archive.string() + " .";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(archive));
    const size_t last = source->size() - 1;
    EXPECT_EQ(source->entry(last).name, format + ".tar:./dog/1.jpg");
    EXPECT_THAT(source->Read(last), IsOkAndHolds(std::string("short")));
    EXPECT_EQ(source->class_names()[*source->entry(last).label], "dog");
    if (format == "gnu" || format == "pax") {
      ASSERT_EQ(source->size(), 2u);
      EXPECT_EQ(source->entry(0).name, format + ".tar:./cat/" + long_name + ".jpg");
      EXPECT_THAT(source->Read(0), IsOkAndHolds(std::string("long")));
    }
  }
}

TEST(TarSourceTest, TakesClassesFromTheMembersFolder) {
  const TemporaryFolder folder;
  Write(folder / "0.tar", Member("./train/dog/1.jpg", "1") + Member("./train/ant/2.jpg", "2") + kEnd);
  Write(folder / "1.tar", Member("train/cat/3.jpg", "3") + kEnd);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder.path()));
  EXPECT_THAT(source->class_names(), ElementsAre("ant", "cat", "dog"));
  EXPECT_EQ(source->entry(0).label, 2);
  EXPECT_EQ(source->entry(1).label, 0);
  EXPECT_EQ(source->entry(2).label, 1);
}

TEST(TarSourceTest, TakesWebDatasetLabels) {
  const TemporaryFolder folder;
  Write(folder / "s.tar", Member("x/000.jpg", "0") + Member("x/000.cls", "3\n") + Member("x/001.cls", "1") +
                              Member("x/001.seg.png", "1") + Member("x/002.jpg", "2") + kEnd);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "s.tar"));
  EXPECT_THAT(source->class_names(), ElementsAre("0", "1", "2", "3"));
  EXPECT_EQ(source->entry(0).label, 3);
  EXPECT_EQ(source->entry(1).label, 1);
  EXPECT_EQ(source->entry(2).label, std::nullopt);

  Write(folder / "bad.tar", Member("000.jpg", "0") + Member("000.cls", "dog") + kEnd);
  EXPECT_THAT(
      OpenImageSource(folder / "bad.tar"),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("bad.tar"), HasSubstr("000.cls"))));
}

TEST(TarSourceTest, OpensPatterns) {
  const TemporaryFolder folder;
  for (const std::string number : {"008", "009", "010", "011"}) {
    Write(folder / ("shard-" + number + ".tar"), Member(number + ".jpg", number) + kEnd);
  }
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto source, OpenImageSource(folder / "shard-{008..010}.tar"));
  EXPECT_THAT(Names(*source),
              ElementsAre("shard-008.tar:008.jpg", "shard-009.tar:009.jpg", "shard-010.tar:010.jpg"));
  EXPECT_THAT(source->Read(2), IsOkAndHolds(std::string("010")));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(source, OpenImageSource(folder / "shard-0{11,08}.tar"));
  EXPECT_THAT(Names(*source), ElementsAre("shard-008.tar:008.jpg", "shard-011.tar:011.jpg"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(source, OpenImageSource(folder / "shard-01?.tar"));
  EXPECT_EQ(source->size(), 2u);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(source, OpenImageSource(folder / "*.tar", 3));
  EXPECT_EQ(source->size(), 3u);

  EXPECT_THAT(OpenImageSource(folder / "shard-{010..012}.tar"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("shard-012.tar")));
  EXPECT_THAT(OpenImageSource(folder / "none-*.tar"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none-*")));
  EXPECT_THAT(OpenImageSource(folder / "shard-{010.tar"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without a }")));
  EXPECT_THAT(OpenImageSource(folder / "shard-{a..c}.tar"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("{a..c}")));
  EXPECT_THAT(OpenImageSource(folder / "{0..99999999}.tar"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than")));
}

TEST(TarSourceTest, NoticesEveryTruncation) {
  const TemporaryFolder folder;
  const std::string whole = Member("a.jpg", std::string(700, 'a')) + Member("b.jpg", "b");
  // Up to the end of the last member: without the end-of-archive block the archive was cut.
  for (size_t length = 0; length <= whole.size(); length += 64) {
    Write(folder / "cut.tar", whole.substr(0, length));
    EXPECT_THAT(OpenImageSource(folder / "cut.tar"),
                StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("cut.tar"), HasSubstr("offset"))))
        << length;
  }
}

TEST(TarSourceTest, NoticesDamagedHeaders) {
  const TemporaryFolder folder;
  std::string archive = Member("a.jpg", "a") + Member("b.jpg", "b") + kEnd;
  archive[1024] ^= 1;  // the second header's first byte
  Write(folder / "s.tar", archive);
  EXPECT_THAT(OpenImageSource(folder / "s.tar"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("offset 1024")));
}

TEST(TarSourceTest, NoticesAChangeAfterOpening) {
  const TemporaryFolder folder;
  const std::string archive = Member("a.jpg", std::string(700, 'a')) + kEnd;
  Write(folder / "s.tar", archive);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto source, OpenImageSource(folder / "s.tar"));
  Write(folder / "s.tar", archive.substr(0, 600));
  EXPECT_THAT(source->Read(0),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("s.tar"), HasSubstr("changed"))));
  fs::remove(folder / "s.tar");
  EXPECT_THAT(source->Read(0), StatusIs(absl::StatusCode::kNotFound, HasSubstr("s.tar")));
}

TEST(TarSourceTest, RefusesArchivesWithoutImages) {
  const TemporaryFolder folder;
  Write(folder / "s.tar", Member("readme.txt", "-") + kEnd);
  EXPECT_THAT(OpenImageSource(folder / "s.tar"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                          AllOf(HasSubstr("no images"), HasSubstr("s.tar"))));
  Write(folder / "sparse.tar", Member("a.jpg", "a", 'S') + kEnd);
  EXPECT_THAT(OpenImageSource(folder / "sparse.tar"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sparse")));
}

}  // namespace
}  // namespace afterimage
