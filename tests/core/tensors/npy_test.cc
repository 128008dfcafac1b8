#include "core/tensors/npy.h"

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As numpy.save writes it: the header is padded so that the numbers begin at a multiple of 64.
std::string Npy(std::string dictionary, const std::string& numbers, char version = 1) {
  const size_t head = version == 1 ? 10 : 12;
  while ((head + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
  dictionary += '\n';
  std::string file = std::string("\x93NUMPY") + version + '\0';
  for (size_t i = 0; i < head - 8; ++i) file += static_cast<char>(dictionary.size() >> (8 * i));
  return file + dictionary + numbers;
}

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

TEST(NpyTest, ReadsWhatNumpyWrites) {
  const std::string f4 = Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3), }",
                             Bytes<float>({1, -2, 3, 4, 5, 6}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TensorView tensor, ParseNpy(AsBytes(f4), "x.npy"));
  EXPECT_THAT(tensor.shape, ElementsAre(2, 1, 3));
  EXPECT_EQ(tensor.type, TensorType::kF32);
  ASSERT_EQ(tensor.data.size(), 24u);
  EXPECT_EQ(LoadLittleEndian<float>(tensor.data.data() + 4), -2.0f);
  const std::string f2 =
      Npy("{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }", Bytes<uint16_t>({1, 2, 3}), 2);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TensorView halves, ParseNpy(AsBytes(f2), "x.npy"));
  EXPECT_EQ(halves.type, TensorType::kF16);
  EXPECT_THAT(halves.shape, ElementsAre(3));
  EXPECT_EQ(halves.data[2], 2);
}

TEST(NpyTest, WhatIsCutOrDoesNotFitIsDataLoss) {
  const std::string good =
      Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", Bytes<float>({1, 2, 3, 4}));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(ParseNpy(AsBytes(good.substr(0, size)), "x.npy"),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("x.npy")))
        << size;
  }
  const std::string huge =
      Npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "1234");
  EXPECT_THAT(ParseNpy(AsBytes(huge), "x.npy"), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(NpyTest, OtherTypesAndOrdersAreRefusedWithTheRemedy) {
  EXPECT_THAT(
      ParseNpy(AsBytes(Npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "1234")), "x.npy"),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(">f4")));
  EXPECT_THAT(
      ParseNpy(AsBytes(Npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "1234")), "x.npy"),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("ascontiguousarray")));
}

}  // namespace
}  // namespace afterimage
