#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

const uint8_t kBytes[] = {1, 2, 3, 4, 5, 6};

TensorView Bytes(size_t first, size_t count) {
  return {TensorType::kU8, {static_cast<int64_t>(count)}, ByteSpan(kBytes).subspan(first, count)};
}

// Three tensors in two shards.
class SafetensorsCheckpointTest : public ::testing::Test {
 protected:
  SafetensorsCheckpointTest() {
    EXPECT_THAT(
        WriteSafetensors(Path("a.safetensors"), {{"x", Bytes(0, 1)}, {"z", Bytes(3, 3)}}, {{"format", "pt"}}),
        IsOk());
    EXPECT_THAT(WriteSafetensors(Path("b.safetensors"), {{"y", Bytes(1, 2)}}, {{"format", "pt"}}), IsOk());
    WriteIndex(R"({"metadata":{"total_size":6},
                   "weight_map":{"x":"a.safetensors","y":"b.safetensors","z":"a.safetensors"}})");
  }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string IndexPath() const { return Path("model.safetensors.index.json"); }
  void WriteIndex(const std::string& text) const {
    EXPECT_THAT(WriteFileAtomically(IndexPath(), text), IsOk());
  }
  auto OpenIndex() const { return SafetensorsFile::OpenCheckpoint(IndexPath()); }

  const TemporaryFolder folder_;
};

TEST_F(SafetensorsCheckpointTest, ShardsReadAsOneFileWithTheDigestOfOne) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sharded, OpenIndex());
  EXPECT_EQ(sharded->path(), IndexPath());
  EXPECT_THAT(sharded->metadata(), ElementsAre(Pair("format", "pt")));
  ASSERT_EQ(sharded->tensors().size(), 3u);
  const ByteSpan y = sharded->tensors().at("y").data;
  EXPECT_THAT(std::vector<int>(y.begin(), y.end()), ElementsAre(2, 3));

  const std::map<std::string, TensorView> tensors = {
      {"x", Bytes(0, 1)}, {"y", Bytes(1, 2)}, {"z", Bytes(3, 3)}};
  ASSERT_THAT(WriteSafetensors(Path("one"), tensors), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto one, SafetensorsFile::OpenCheckpoint(Path("one")));
  EXPECT_EQ(sharded->ContentDigest(), one->ContentDigest());
}

TEST_F(SafetensorsCheckpointTest, AFolderIsItsIndexOrElseItsOnlyFile) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sharded,
                                  SafetensorsFile::OpenCheckpoint(folder_.path().string()));
  EXPECT_EQ(sharded->path(), IndexPath());
  std::filesystem::remove(IndexPath());
  EXPECT_THAT(SafetensorsFile::OpenCheckpoint(folder_.path().string()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a.safetensors, b.safetensors")));
  std::filesystem::remove(Path("b.safetensors"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto single,
                                  SafetensorsFile::OpenCheckpoint(folder_.path().string()));
  EXPECT_EQ(single->path(), Path("a.safetensors"));
  std::filesystem::remove(Path("a.safetensors"));
  EXPECT_THAT(SafetensorsFile::OpenCheckpoint(folder_.path().string()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("holds no *.safetensors")));
}

TEST_F(SafetensorsCheckpointTest, SeveralIndexesAreListed) {
  ASSERT_THAT(WriteFileAtomically(Path("other.safetensors.index.json"), "{}"), IsOk());
  EXPECT_THAT(SafetensorsFile::OpenCheckpoint(folder_.path().string()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.safetensors.index.json, other.safetensors.index.json")));
}

TEST_F(SafetensorsCheckpointTest, MissingShardsAreAllNamed) {
  std::filesystem::remove(Path("b.safetensors"));
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kNotFound,
                                    AllOf(HasSubstr(IndexPath()), HasSubstr("of 2 shards 1 is"),
                                          HasSubstr("b.safetensors"), Not(HasSubstr("a.safetensors,")))));
  std::filesystem::remove(Path("a.safetensors"));
  EXPECT_THAT(OpenIndex(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("2 are not in the folder: a.safetensors, b.")));
}

TEST_F(SafetensorsCheckpointTest, ADamagedShardIsNamed) {
  ASSERT_THAT(WriteFileAtomically(Path("b.safetensors"), "short"), IsOk());
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("b.safetensors: 5 bytes")));
}

TEST_F(SafetensorsCheckpointTest, IndexAndShardsMustAgree) {
  WriteIndex(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kDataLoss,
                                    HasSubstr("\"z\" is in a.safetensors, the index has it nowhere")));
  WriteIndex(R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors","z":"b.safetensors"}})");
  EXPECT_THAT(OpenIndex(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the index has it in b.safetensors")));
  WriteIndex(
      R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors","z":"a.safetensors","w":"a.safetensors"}})");
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("\"w\" is not in a.safetensors")));
}

TEST_F(SafetensorsCheckpointTest, ATensorInTwoShardsIsRefused) {
  ASSERT_THAT(WriteSafetensors(Path("b.safetensors"), {{"y", Bytes(1, 2)}, {"x", Bytes(0, 1)}}), IsOk());
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("\"x\" is in b.safetensors")));
}

TEST_F(SafetensorsCheckpointTest, WhatIsNoIndexIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not valid JSON"},
      {"[]", "not a JSON object"},
      {"{}", "no weight_map"},
      {R"({"weight_map":{}})", "no weight_map"},
      {R"({"weight_map":[]})", "no weight_map"},
      {R"({"weight_map":{"x":1}})", "\"x\" names no shard"},
      {R"({"weight_map":{"x":"a.safetensors","x":"b.safetensors"}})", "\"x\" occurs twice"},
      {R"({"weight_map":{"x":"../a.safetensors"}})", "not a file beside the index"},
      {R"({"weight_map":{"x":"/etc/passwd"}})", "not a file beside the index"},
      {R"({"weight_map":{"x":"a.safetensors\u0000"}})", "not a file beside the index"},
      {R"({"weight_map":{"x":""}})", "not a file beside the index"},
      {R"({"weight_map":{"x":".."}})", "not a file beside the index"},
      {R"({"weight_map":{"x":[[[[]]]]}})", "nested too deeply"},
  };
  for (const auto& [text, message] : cases) {
    WriteIndex(text);
    EXPECT_THAT(OpenIndex(),
                StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(IndexPath()), HasSubstr(message))))
        << text;
  }
}

TEST_F(SafetensorsCheckpointTest, AHugeIndexIsRefusedUnread) {
  std::filesystem::resize_file(IndexPath(), 10'000'000'000);
  EXPECT_THAT(OpenIndex(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("bytes are no index")));
}

TEST_F(SafetensorsCheckpointTest, AnAbsentPathIsNotFound) {
  EXPECT_THAT(SafetensorsFile::OpenCheckpoint("/nowhere/x.safetensors"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.safetensors")));
  EXPECT_THAT(SafetensorsFile::OpenCheckpoint("/nowhere/x.safetensors.index.json"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/x.safetensors.index.json")));
}

}  // namespace
}  // namespace afterimage
