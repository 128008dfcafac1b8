#include "core/vit/tensor_file.h"

#include <ATen/ATen.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage {
namespace {

constexpr std::pair<TensorType, at::ScalarType> kTypes[] = {
    {TensorType::kF64, at::kDouble},    {TensorType::kF32, at::kFloat}, {TensorType::kF16, at::kHalf},
    {TensorType::kBF16, at::kBFloat16}, {TensorType::kI64, at::kLong},  {TensorType::kI32, at::kInt},
    {TensorType::kU8, at::kByte},       {TensorType::kI8, at::kChar},   {TensorType::kI16, at::kShort},
    {TensorType::kBool, at::kBool},
};

at::ScalarType ToScalarType(TensorType type) {
  for (const auto& [ours, torch] : kTypes) {
    if (ours == type) return torch;
  }
  TORCH_CHECK(false, "no scalar type for ", TensorTypeName(type));
}

std::optional<TensorType> ToTensorType(at::ScalarType type) {
  for (const auto& [ours, torch] : kTypes) {
    if (torch == type) return ours;
  }
  return std::nullopt;
}

}  // namespace

void CopyValues(const TensorView& view, at::Tensor target) {
  const at::ScalarType type = ToScalarType(view.type);
  if (view.data.empty()) return;  // without an address perhaps
  if (target.scalar_type() == type && target.is_contiguous()) {
    std::memcpy(target.mutable_data_ptr(), view.data.data(), view.data.size());
    return;
  }
  const at::TensorOptions options = at::TensorOptions().dtype(type);
  if (reinterpret_cast<uintptr_t>(view.data.data()) % TensorTypeBytes(view.type) == 0) {
    // Only read.
    void* const bytes = const_cast<uint8_t*>(view.data.data());
    target.copy_(at::from_blob(bytes, view.shape, options).view(target.sizes()));
    return;
  }
  at::Tensor aligned = at::empty(view.shape, options);
  std::memcpy(aligned.mutable_data_ptr(), view.data.data(), view.data.size());
  target.copy_(aligned.view(target.sizes()));
}

at::Tensor ToTensor(const TensorView& view, std::optional<at::ScalarType> dtype) {
  at::Tensor tensor =
      at::empty(view.shape, at::TensorOptions().dtype(dtype.value_or(ToScalarType(view.type))));
  CopyValues(view, tensor);
  return tensor;
}

absl::StatusOr<ParameterMap> LoadTensors(const std::string& path, std::optional<at::ScalarType> dtype) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file, SafetensorsFile::Open(path));
  return RunTorch([&] {
    ParameterMap tensors;
    for (const auto& [name, view] : file->tensors()) tensors[name] = ToTensor(view, dtype);
    return tensors;
  });
}

absl::Status SaveTensors(const std::string& path, const ParameterMap& tensors,
                         const std::map<std::string, std::string>& metadata) {
  return RunTorch([&]() -> absl::Status {
    std::vector<at::Tensor> held;  // copies whose bytes the views show
    std::map<std::string, TensorView> views;
    for (const auto& [name, tensor] : tensors) {
      const std::optional<TensorType> type = ToTensorType(tensor.scalar_type());
      if (!type) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": tensor \"", name, "\" has type ", at::toString(tensor.scalar_type())));
      }
      held.push_back(tensor.detach().to(at::kCPU).contiguous());
      const at::Tensor& bytes = held.back();
      views[name] = {.type = *type,
                     .shape = bytes.sizes().vec(),
                     .data = {static_cast<const uint8_t*>(bytes.const_data_ptr()), bytes.nbytes()}};
    }
    return WriteSafetensors(path, views, metadata);
  });
}

}  // namespace afterimage
