#include "core/vit/tensor_file.h"

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

#include "core/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::HasSubstr;

TEST(TensorFileTest, EveryTypeComesBackAsItWas) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x.safetensors").string();
  ParameterMap tensors;
  const at::Tensor source = at::arange(6, at::kInt).view({2, 3});
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kByte,
                          at::kChar, at::kShort, at::kBool}) {
    tensors[at::toString(type)] = source.to(type);
  }
  tensors["transposed"] = at::rand({3, 4}).t();  // not contiguous
  tensors["scalar"] = at::scalar_tensor(2.5);
  tensors["none"] = at::zeros({0, 3});
  tensors["learned"] = at::rand({2}).set_requires_grad(true);
  ASSERT_THAT(SaveTensors(path, tensors), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap loaded, LoadTensors(path));
  ASSERT_EQ(loaded.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    EXPECT_EQ(loaded.at(name).scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(loaded.at(name), tensor.detach()));
  }
}

TEST(TensorFileTest, HalfPrecisionIsConvertedExactly) {
  const TemporaryFolder folder;
  const std::string path = (folder / "x.safetensors").string();
  const at::Tensor values = at::tensor({1.5, -0.25, 65504.0, 6.103515625e-05}, at::kDouble);
  ASSERT_THAT(SaveTensors(path, {{"h", values.to(at::kHalf)}, {"b", values.to(at::kBFloat16)}}), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap loaded, LoadTensors(path, at::kFloat));
  EXPECT_TRUE(at::equal(loaded.at("h"), values.to(at::kFloat)));
  EXPECT_TRUE(at::equal(loaded.at("b"), values.to(at::kBFloat16).to(at::kFloat)));
}

// Of a view whose bytes start anywhere, into any type, also into a part of a tensor.
TEST(TensorFileTest, CopiesValuesWhateverTheirAlignment) {
  const at::Tensor values = at::tensor({1.5, -0.25, 3.0, 8.0}, at::kDouble);
  for (const auto type : {at::kHalf, at::kFloat, at::kDouble}) {
    const at::Tensor source = values.to(type);
    const TensorType ours = type == at::kHalf    ? TensorType::kF16
                            : type == at::kFloat ? TensorType::kF32
                                                 : TensorType::kF64;
    std::vector<uint8_t> bytes(source.nbytes() + 9);
    for (const size_t offset : {size_t{0}, size_t{1}, size_t{2}, size_t{8}}) {
      std::memcpy(bytes.data() + offset, source.const_data_ptr(), source.nbytes());
      const TensorView view = {ours, {2, 2}, ByteSpan(bytes).subspan(offset, source.nbytes())};
      at::Tensor target = at::zeros({3, 4}, at::kFloat);
      CopyValues(view, target[1]);
      EXPECT_TRUE(at::equal(target[1], values.to(at::kFloat))) << offset;
      EXPECT_EQ(target.abs().sum().item<double>(), values.abs().sum().item<double>());
      EXPECT_TRUE(at::equal(ToTensor(view, at::kDouble), values.view({2, 2})));
    }
  }
}

TEST(TensorFileTest, TypesThatTheFormatLacksAreRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(SaveTensors((folder / "x").string(), {{"z", at::zeros({2}, at::kComplexFloat)}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"z\"")));
}

}  // namespace
}  // namespace afterimage
