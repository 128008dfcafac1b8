// afterimage codec-bench, as a user runs it.
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/feature/feature_spec.h"
#include "core/tensors/safetensors.h"
#include "gmock/gmock.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CodecBenchCommandTest : public ::testing::Test {
 protected:
  testing::Finished Bench(std::vector<std::string> more) {
    std::vector<std::string> argv = {std::string(AFTERIMAGE_BINARY_DIR) + "/bin/afterimage", "codec-bench"};
    argv.insert(argv.end(), more.begin(), more.end());
    return testing::RunProgram(argv);
  }
  static std::vector<float> Values(size_t count) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(1.0f, 3.0f);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
  }
  std::string WriteNpy(const std::string& name, const std::string& shape, const std::vector<float>& values) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }";
    while ((10 + header.size() + 1) % 64 != 0) header += ' ';
    header += '\n';
    const std::string path = (folder_ / name).string();
    std::ofstream file(path, std::ios::binary);
    file << "\x93NUMPY" << '\x01' << '\0' << static_cast<char>(header.size())
         << static_cast<char>(header.size() >> 8) << header;
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
    return path;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(CodecBenchCommandTest, AnArrayIsMeasuredUnderEveryCodec) {
  const std::string path = WriteNpy("a.npy", "(6, 10, 64)", Values(6 * 10 * 64));
  const testing::Finished text = Bench({"--input", path});
  ASSERT_EQ(text.status, 0) << text.Text();
  EXPECT_THAT(text.out, AllOf(HasSubstr("6 x 10 x 64"), HasSubstr("memcpy"), HasSubstr("worst cosine")));
  const std::string picture = (folder_ / "rates.png").string();
  const testing::Finished json = Bench({"--input", path, "--json", "--png", picture});
  EXPECT_GT(std::filesystem::file_size(picture), 1000u);
  const Json report = Json::parse(json.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << json.Text();
  EXPECT_EQ(report["records"], 3);
  EXPECT_EQ(report["measured_records"], 3);
  ASSERT_EQ(report["codecs"].size(), std::size(kAllCodecs));
  for (const Json& codec : report["codecs"]) {
    EXPECT_LE(codec["all"]["largest_error"].get<double>(), 0.5) << codec["codec"];
    EXPECT_LE(codec["all"]["rmse"].get<double>(), 0.15) << codec["codec"];
    EXPECT_GT(codec["all"]["decode_bytes_per_second"].get<double>(), 0) << codec["codec"];
  }
}

TEST_F(CodecBenchCommandTest, TensorsAreLevels) {
  const std::vector<float> values = Values(2 * 5 * 32);
  const TensorView tensor{
      TensorType::kF32, {2, 5, 32}, {reinterpret_cast<const uint8_t*>(values.data()), values.size() * 4}};
  const std::string path = (folder_ / "levels.safetensors").string();
  AFTERIMAGE_ASSERT_OK(WriteSafetensors(path, {{"block.10", tensor}, {"block.11", tensor}}));
  const testing::Finished finished = Bench({"--input", path});
  ASSERT_EQ(finished.status, 0) << finished.Text();
  EXPECT_THAT(finished.out, AllOf(HasSubstr("level 1: block.10"), HasSubstr("level 2: block.11")));
}

TEST_F(CodecBenchCommandTest, WhatIsNoActivationsIsRefusedWithItsShape) {
  EXPECT_THAT(Bench({"--input", WriteNpy("flat.npy", "(6, 64)", Values(6 * 64))}).err,
              AllOf(HasSubstr("[6, 64]"), HasSubstr("images x tokens x channels")));
  std::vector<float> bad = Values(2 * 2 * 8);
  bad[19] = std::numeric_limits<float>::quiet_NaN();
  const testing::Finished finished = Bench({"--input", WriteNpy("nan.npy", "(2, 2, 8)", bad)});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, AllOf(HasSubstr("image 1"), HasSubstr("token 0")));
  EXPECT_EQ(Bench({"--input", (folder_ / "absent.npy").string()}).status, 1);
}

}  // namespace
}  // namespace afterimage
