#include "trainer/forward/forward_input.h"

#include <ATen/ATen.h>

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/mask/mask.h"
#include "core/vit/tensor_file.h"
#include "trainer/model/drop_path.h"

namespace afterimage::trainer {
namespace {

// -1 as "?".
std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[",
                      absl::StrJoin(shape, ", ",
                                    [](std::string* out, int64_t extent) {
                                      extent < 0 ? absl::StrAppend(out, "?") : absl::StrAppend(out, extent);
                                    }),
                      "]");
}

bool Fits(const std::vector<int64_t>& shape, const std::vector<int64_t>& wanted) {
  if (shape.size() != wanted.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (wanted[i] < 0 ? shape[i] < 1 : shape[i] != wanted[i]) return false;
  }
  return true;
}

bool IsFloating(TensorType type) {
  return type == TensorType::kF64 || type == TensorType::kF32 || type == TensorType::kF16 ||
         type == TensorType::kBF16;
}

}  // namespace

absl::StatusOr<ForwardInput> ForwardInput::Open(const std::string& path, const std::string& name,
                                                at::ScalarType dtype) {
  ForwardInput input;
  AFTERIMAGE_ASSIGN_OR_RETURN(input.file_, SafetensorsFile::Open(path));
  input.name_ = name;
  input.dtype_ = dtype;
  const std::string prefix = input.FullName("");
  for (const auto& [tensor, view] : input.file_->tensors()) {
    if (absl::StartsWith(tensor, prefix)) return input;
  }
  return absl::InvalidArgumentError(absl::StrCat(path, " has no tensor ", prefix, "*: an input is ", prefix,
                                                 "pixel_values [B, 3, size, size], or ", prefix,
                                                 "view, bytes [B, size, size, 3]"));
}

std::string ForwardInput::FullName(const std::string& suffix) const {
  return absl::StrCat("input.", name_, name_.empty() ? "" : ".", suffix);
}

absl::Status ForwardInput::Wrong(const std::string& suffix, const std::string& what) const {
  return absl::InvalidArgumentError(absl::StrCat(file_->path(), ": ", FullName(suffix), " ", what));
}

absl::StatusOr<const TensorView*> ForwardInput::Find(const std::string& suffix,
                                                     const std::vector<int64_t>& shape) const {
  const auto found = file_->tensors().find(FullName(suffix));
  if (found == file_->tensors().end()) return Wrong(suffix, absl::StrCat(ShapeText(shape), " is missing"));
  if (!Fits(found->second.shape, shape)) {
    return Wrong(suffix,
                 absl::StrCat("has the shape ", ShapeText(found->second.shape), ", not ", ShapeText(shape)));
  }
  return &found->second;
}

absl::StatusOr<at::Tensor> ForwardInput::Floats(const std::string& suffix,
                                                const std::vector<int64_t>& shape) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const view, Find(suffix, shape));
  if (!IsFloating(view->type)) {
    return Wrong(suffix, absl::StrCat("is of type ", TensorTypeName(view->type), ", not floating point"));
  }
  return ToTensor(*view, dtype_);
}

absl::StatusOr<at::Tensor> ForwardInput::Indices(const std::string& suffix,
                                                 const std::vector<int64_t>& shape) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const view, Find(suffix, shape));
  if (view->type != TensorType::kI64 && view->type != TensorType::kI32) {
    return Wrong(suffix, absl::StrCat("is of type ", TensorTypeName(view->type), ", not I64 or I32"));
  }
  return ToTensor(*view, at::kLong);
}

absl::StatusOr<at::Tensor> ForwardInput::Pixels(int64_t size, const ChannelValues& mean,
                                                const ChannelValues& std, const std::string& remedy) const {
  const bool bytes = !Has("pixel_values") && Has("view");
  const std::string name = bytes ? "view" : "pixel_values";
  const std::vector<int64_t> any =
      bytes ? std::vector<int64_t>{-1, -1, -1, 3} : std::vector<int64_t>{-1, 3, -1, -1};
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const view, Find(name, any));
  const int64_t height = view->shape[bytes ? 1 : 2], width = view->shape[bytes ? 2 : 3];
  if (height != width)
    return Wrong(name, absl::StrCat("holds views of ", width, " x ", height, " pixels: views are square"));
  if (height != size || width != size) {
    return Wrong(name, absl::StrCat("holds views of ", width, " x ", height, " pixels, the network takes ",
                                    size, " x ", size, remedy));
  }
  if (!bytes) return Floats(name, any);
  if (view->type != TensorType::kU8) {
    return Wrong(name, absl::StrCat("is of type ", TensorTypeName(view->type), ", not U8"));
  }
  // In float32 whatever the dtype, as the reference does it.
  const auto channels = [](const ChannelValues& values) {
    return at::tensor({values[0], values[1], values[2]}, at::kDouble).to(at::kFloat);
  };
  const at::Tensor pixels = (ToTensor(*view).to(at::kFloat) / 255.0 - channels(mean)) / channels(std);
  return pixels.permute({0, 3, 1, 2}).to(dtype_).contiguous();
}

absl::StatusOr<at::Tensor> ForwardInput::Visible(int64_t batch, int64_t num_patches,
                                                 std::optional<double> mask_ratio) const {
  std::string name = "ids_keep";
  at::Tensor visible;
  if (Has(name)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(visible, Indices(name, {batch, -1}));
  } else if (mask_ratio.has_value() && Has("ids_shuffle")) {
    name = "ids_shuffle";
    AFTERIMAGE_ASSIGN_OR_RETURN(visible, Indices(name, {batch, num_patches}));
    if (!(*mask_ratio >= 0 && *mask_ratio < 1)) {
      return absl::InvalidArgumentError(absl::StrCat("--mask-ratio ", *mask_ratio, " is not in [0, 1)"));
    }
    const int64_t count = NumVisible(static_cast<uint32_t>(num_patches), *mask_ratio);
    if (count < 1) {
      return absl::InvalidArgumentError(absl::StrCat("--mask-ratio ", *mask_ratio, " leaves none of ",
                                                     num_patches, " patches visible: choose a smaller one"));
    }
    visible = visible.slice(1, 0, count).contiguous();
  } else {
    return visible;
  }
  const int64_t* index = visible.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < batch; ++row) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < visible.size(1); ++i, ++index) {
      if (*index < 0 || *index >= num_patches) {
        return Wrong(name, absl::StrCat("names patch ", *index, "; there are 0 to ", num_patches - 1));
      }
      if (!seen.insert(*index).second)
        return Wrong(name, absl::StrCat("names patch ", *index, " twice in row ", row));
    }
  }
  return visible;
}

absl::StatusOr<at::Tensor> ForwardInput::DropPath(double rate, int64_t depth, int64_t batch) const {
  const std::string name = "drop_path_keep";
  const std::vector<int64_t> shape = {depth, 2, batch};
  if (!(rate >= 0 && rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--drop-path ", rate, " is not in [0, 1)"));
  }
  if (!Has(name)) {
    if (rate == 0) return at::Tensor();
    return Wrong(name, absl::StrCat(ShapeText(shape), " is missing: --drop-path ", rate,
                                    " needs the draws, 1 where a branch survives"));
  }
  if (rate == 0) return Wrong(name, "is given, but not --drop-path, the rate that it was drawn at");
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const view, Find(name, shape));
  const at::Tensor keep = ToTensor(*view, dtype_);
  if (!keep.eq(0).logical_or(keep.eq(1)).all().item<bool>())
    return Wrong(name, "holds other values than 0 and 1");
  return DropPathFactorsOfDraws(rate, keep);
}

}  // namespace afterimage::trainer
