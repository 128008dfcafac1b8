#include "core/tensors/safetensors.h"

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string Framed(const std::string& header, const std::string& data) {
  std::string bytes;
  AppendLittleEndian(static_cast<uint64_t>(header.size()), bytes);
  return bytes + header + data;
}

const float kFloats[] = {1.0f, -2.0f};
const uint8_t kSmall[] = {1, 2, 3};
const int64_t kScalar = 7;

std::map<std::string, TensorView> ThreeTensors() {
  return {
      {"a", {TensorType::kF32, {2}, {reinterpret_cast<const uint8_t*>(kFloats), sizeof(kFloats)}}},
      {"b", {TensorType::kU8, {3}, {kSmall, sizeof(kSmall)}}},
      {"s", {TensorType::kI64, {}, {reinterpret_cast<const uint8_t*>(&kScalar), sizeof(kScalar)}}},
  };
}

TEST(SafetensorsTest, WritesTheFormatsBytesWidestTypeFirst) {
  const TemporaryFolder folder;
  const std::string path = (folder / "three.safetensors").string();
  ASSERT_THAT(WriteSafetensors(path, ThreeTensors(), {{"k", "v"}}), IsOk());
  const std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"data_offsets":[8,16],"dtype":"F32","shape":[2]},)"
      R"("b":{"data_offsets":[16,19],"dtype":"U8","shape":[3]},"s":{"data_offsets":[0,8],"dtype":"I64","shape":[]}})";
  const std::string data(
      "\x07\0\0\0\0\0\0\0"
      "\0\0\x80\x3f\0\0\0\xc0"
      "\x01\x02\x03",
      19);
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(Framed(padded, data)));
}

TEST(SafetensorsTest, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const std::string path = (folder / "three.safetensors").string();
  ASSERT_THAT(WriteSafetensors(path, ThreeTensors(), {{"k", "v"}}), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  EXPECT_EQ(file->path(), path);
  EXPECT_THAT(file->metadata(), ElementsAre(Pair("k", "v")));
  ASSERT_EQ(file->tensors().size(), 3u);
  const TensorView& a = file->tensors().at("a");
  EXPECT_EQ(a.type, TensorType::kF32);
  EXPECT_THAT(a.shape, ElementsAre(2));
  ASSERT_EQ(a.data.size(), sizeof(kFloats));
  EXPECT_EQ(std::memcmp(a.data.data(), kFloats, sizeof(kFloats)), 0);
  EXPECT_TRUE(file->tensors().at("s").shape.empty());
}

TEST(SafetensorsTest, WritingLeavesNothingBesideTheFile) {
  const TemporaryFolder folder;
  ASSERT_THAT(WriteSafetensors((folder / "x").string(), ThreeTensors()), IsOk());
  ASSERT_THAT(WriteSafetensors((folder / "x").string(), {}), IsOk());  // replaces
  int num_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++num_files;
  EXPECT_EQ(num_files, 1);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open((folder / "x").string()));
  EXPECT_TRUE(file->tensors().empty());
}

TEST(SafetensorsTest, RefusesToWriteWhatDoesNotFit) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x").string();
  auto tensors = ThreeTensors();
  tensors["b"].shape = {4};
  EXPECT_THAT(WriteSafetensors(path, tensors),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"b\""), HasSubstr("[4]"))));
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THAT(WriteSafetensors((folder / "no" / "folder").string(), ThreeTensors()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no/folder")));
}

// The expected digests are Python's: hashlib over length-prefixed name, dtype, shape and bytes.
TEST(SafetensorsTest, ContentDigestIsFrozen) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x").string();
  ASSERT_THAT(WriteSafetensors(path, ThreeTensors(), {{"not", "hashed"}}), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path));
  EXPECT_EQ(file->ContentDigest().Hex(), "8ad6b7413f7d227af17d6c89179a97257598b16a39c4fd2355f7e11ef7437978");
  EXPECT_EQ(file->ContentDigest({"b", "s"}).Hex(),
            "02fdf40bcab172596f5837292a4e80b37f6d3263119f5977e85eaf5736f75aa8");
}

TEST(SafetensorsTest, AbsentFileIsNotFound) {
  EXPECT_THAT(SafetensorsFile::Open("/nowhere/x.safetensors"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.safetensors")));
}

struct Damage {
  std::string name;
  std::string bytes;
  std::string message;
};

class SafetensorsDamageTest : public ::testing::TestWithParam<Damage> {};

TEST_P(SafetensorsDamageTest, IsDataLossThatNamesTheFile) {
  const TemporaryFolder folder;
  const std::string path = (folder / "damaged.safetensors").string();
  ASSERT_THAT(WriteFileAtomically(path, GetParam().bytes), IsOk());
  EXPECT_THAT(SafetensorsFile::Open(path),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(path), HasSubstr(GetParam().message))));
}

std::string WithLength(uint64_t length, const std::string& rest) {
  std::string bytes;
  AppendLittleEndian(length, bytes);
  return bytes + rest;
}

std::string Entry(const std::string& name, const std::string& shape, const std::string& offsets) {
  return absl::StrCat("\"", name, R"(":{"dtype":"F32","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
}
std::string One(const std::string& shape, const std::string& offsets, size_t num_bytes = 8) {
  return Framed("{" + Entry("t", shape, offsets) + "}", std::string(num_bytes, '\0'));
}

INSTANTIATE_TEST_SUITE_P(
    Damages, SafetensorsDamageTest,
    ::testing::Values(
        Damage{"Empty", "", "no safetensors file"},
        Damage{"SevenBytes", std::string(7, '\0'), "no safetensors file"},
        Damage{"HugeHeader", WithLength(UINT64_MAX, "{}"), "does not fit"},
        Damage{"HeaderPastTheEnd", WithLength(3, "{}"), "does not fit"},
        Damage{"HeaderOverTheFormatsBound", WithLength(100'000'001, std::string(16, ' ')), "does not fit"},
        Damage{"EmptyHeader", WithLength(0, ""), "not valid JSON"},
        Damage{"NotJson", Framed("{\"a\":", ""), "not valid JSON"},
        Damage{"NotUtf8", Framed("{\"\xff\":{}}", ""), "not valid JSON"},
        Damage{"NotAnObject", Framed("[]", ""), "not a JSON object"},
        Damage{"DeepNesting", Framed(std::string(100'000, '[') + std::string(100'000, ']'), ""),
               "nested too deeply"},
        Damage{"NameTwice",
               Framed("{" + Entry("t", "[1]", "[0,4]") + "," + Entry("t", "[1]", "[4,8]") + "}",
                      std::string(8, '\0')),
               "\"t\" occurs twice"},
        Damage{"FieldTwice",
               Framed(R"({"t":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})",
                      std::string(4, '\0')),
               "\"dtype\" occurs twice"},
        Damage{"EntryIsNoObject", Framed(R"({"t":3})", ""), "\"t\""},
        Damage{"FieldMissing", Framed(R"({"t":{"dtype":"F32","shape":[]}})", ""), "data_offsets"},
        Damage{"FieldTooMany",
               Framed(R"({"t":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}})", std::string(4, '\0')),
               "\"t\""},
        Damage{"DtypeNoString",
               Framed(R"({"t":{"dtype":1,"shape":[],"data_offsets":[0,4]}})", std::string(4, '\0')), "dtype"},
        Damage{"MetadataNoString", Framed(R"({"__metadata__":{"k":1}})", ""), "metadata \"k\""},
        Damage{"NegativeExtent", One("[-2]", "[0,8]"), "shape"},
        Damage{"FractionalExtent", One("[2.0]", "[0,8]"), "shape"},
        Damage{"ShapeOverflows", One("[4294967296,4294967296,4294967296]", "[0,8]"),
               "does not fit its 8 bytes"},
        Damage{"EmptyShapeOverflows", One("[0,4294967296,4294967296]", "[0,0]", 0),
               "does not fit its 0 bytes"},
        Damage{"TooManyDimensions",
               One("[" + absl::StrJoin(std::vector<int>(1000, 1), ",") + "]", "[0,4]", 4), "1000 dimensions"},
        Damage{"ShapeTooSmall", One("[1]", "[0,8]"), "does not fit its 8 bytes"},
        Damage{"NegativeOffset", One("[2]", "[-8,0]"), "data_offsets"},
        Damage{"OneOffset", One("[2]", "[8]"), "data_offsets"},
        Damage{"OffsetsReversed", One("[2]", "[8,0]"), "leave the file"},
        Damage{"OffsetPastTheEnd", One("[4]", "[0,16]"), "leave the file's 8 data bytes"},
        Damage{"HugeOffset", One("[2]", "[18446744073709551608,18446744073709551615]"), "leave the file"},
        Damage{"CutShort", One("[2]", "[0,8]", 7), "leave the file's 7 data bytes"},
        Damage{"BytesAfterTheEnd", One("[2]", "[0,8]", 9), "end at byte 8 of 9"},
        Damage{"HoleAtTheStart", One("[1]", "[4,8]"), "leaves a hole"},
        Damage{"Overlap",
               Framed("{" + Entry("t", "[2]", "[0,8]") + "," + Entry("u", "[1]", "[4,8]") + "}",
                      std::string(8, '\0')),
               "\"u\" begins at byte 4 inside"}),
    [](const auto& info) { return info.param.name; });

TEST(SafetensorsTest, UnknownDtypeIsUnimplemented) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x").string();
  ASSERT_THAT(
      WriteFileAtomically(path, Framed(R"({"t":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "x")),
      IsOk());
  EXPECT_THAT(SafetensorsFile::Open(path),
              StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr("\"t\""), HasSubstr("F8_E4M3"))));
}

// The file is as long as it says, without taking the disk's space.
TEST(SafetensorsTest, AHeaderOfTenGigabytesIsRefusedUnread) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x").string();
  constexpr uint64_t kTenGigabytes = 10'000'000'000;
  ASSERT_THAT(WriteFileAtomically(path, WithLength(kTenGigabytes, "{")), IsOk());
  std::filesystem::resize_file(path, kTenGigabytes + 8);
  EXPECT_THAT(SafetensorsFile::Open(path),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a header of 10000000000 bytes")));
}

TEST(SafetensorsTest, PyTorchsOwnFilesAreRefusedWithTheRemedy) {
  const TemporaryFolder folder;
  const std::string path = (folder / "weights.pth").string();
  for (const std::string& start :
       {std::string("PK\x03\x04\x2d\0\0\x08", 8), std::string("\x80\x02\x8a\x0al\xfc\x9c\x46", 8)}) {
    std::ofstream(path, std::ios::binary) << start << std::string(100, 'x');
    EXPECT_THAT(SafetensorsFile::Open(path),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(path), HasSubstr("PyTorch"), HasSubstr("docs/teachers.md"))));
  }
}

TEST(SafetensorsTest, ParsedBytesLiveAsLongAsTheFile) {
  std::shared_ptr<const SafetensorsFile> file;
  {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        file, SafetensorsFile::Parse(PinnedBytes::FromString(One("[2]", "[0,8]")), "memory"));
  }
  EXPECT_EQ(file->tensors().at("t").data[7], 0);
  EXPECT_EQ(file->path(), "memory");
}

TEST(SafetensorsTest, FolderIsRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(SafetensorsFile::Open(folder.path().string()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not a regular file")));
}

}  // namespace
}  // namespace afterimage
