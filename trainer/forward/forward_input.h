// The "input.*" tensors of a file in the form of tests/golden, checked before anything is computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_settings.h"

namespace afterimage::trainer {

// What the student is given, and the teacher of MaskAlign before its own normalisation.
inline constexpr ChannelValues kImageNetMean = {0.485, 0.456, 0.406};
inline constexpr ChannelValues kImageNetStd = {0.229, 0.224, 0.225};

// All errors are InvalidArgument, name file and tensor and tell both shapes.
class ForwardInput {
 public:
  // `name`: reads "input.<name>.*", for files with several inputs; empty = "input.*". Tensors come in
  // `dtype`.
  static absl::StatusOr<ForwardInput> Open(const std::string& path, const std::string& name,
                                           at::ScalarType dtype);

  bool Has(const std::string& suffix) const { return file_->tensors().contains(FullName(suffix)); }

  // [B, 3, size, size] from "pixel_values", or from the bytes "view" [B, size, size, 3], normalised in
  // float32. `remedy` ends the text about another size.
  absl::StatusOr<at::Tensor> Pixels(int64_t size, const ChannelValues& mean, const ChannelValues& std,
                                    const std::string& remedy) const;

  // int64 [B, n] from "ids_keep", or the first NumVisible(N, mask_ratio) of "ids_shuffle" [B, N]; undefined
  // where there is neither. Indices are of patches and occur once. Without a ratio "ids_shuffle" is not
  // looked at.
  absl::StatusOr<at::Tensor> Visible(int64_t batch, int64_t num_patches,
                                     std::optional<double> mask_ratio) const;

  // Factors for VitForwardOptions::drop_path from "drop_path_keep" [depth, 2, B] of 0 and 1, drawn at `rate`;
  // undefined where rate is 0 and there are no draws. One without the other is an error.
  absl::StatusOr<at::Tensor> DropPath(double rate, int64_t depth, int64_t batch) const;

  // A tensor of floating point and of this shape; -1 = any extent.
  absl::StatusOr<at::Tensor> Floats(const std::string& suffix, const std::vector<int64_t>& shape) const;

 private:
  ForwardInput() = default;
  std::string FullName(const std::string& suffix) const;
  absl::StatusOr<const TensorView*> Find(const std::string& suffix, const std::vector<int64_t>& shape) const;
  absl::StatusOr<at::Tensor> Indices(const std::string& suffix, const std::vector<int64_t>& shape) const;
  absl::Status Wrong(const std::string& suffix, const std::string& what) const;

  std::shared_ptr<const SafetensorsFile> file_;
  std::string name_;
  at::ScalarType dtype_ = at::ScalarType::Float;
};

}  // namespace afterimage::trainer
