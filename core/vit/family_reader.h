// Reads the image tower of a checkpoint under timm's names, whatever its family calls them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vit/tower_location.h"
#include "core/vit/vit.h"

namespace afterimage {

// The first error wins; all are InvalidArgument and name the tensor. The views must stay valid. Calls of
// LibTorch throw (torch_status.h).
class FamilyReader {
 public:
  FamilyReader(const TowerLocation& tower, const WeightViews& weights);

  // Fills in what shapes and names say; image_size is the native one. A gated MLP makes the activation
  // kSwiGlu, anything else leaves it alone.
  absl::Status ReadGeometry(VitConfig& config);

  // VitParameterShapes(config), with the file's position table. A table without a class row gets one of
  // zeros; the rows that registers have in it are added to them. Every tensor of the file must have been
  // asked for or be known not to matter.
  absl::StatusOr<ParameterMap> ReadParameters(const VitConfig& config, at::ScalarType dtype);

 private:
  std::string FileName(const std::string& ours, int64_t block) const;
  bool Has(const std::string& ours) const;
  bool Expects(const std::string& ours, const std::string& companion) const;
  absl::StatusOr<const TensorView*> Find(const std::string& ours) const;
  absl::Status Missing(const std::string& name, const std::vector<int64_t>& shape) const;
  absl::Status WrongShape(const std::string& ours, const TensorView& view, const std::string& wanted) const;
  absl::Status ReadGrid(VitConfig& config);
  absl::Status ReadMlp(VitConfig& config) const;
  int64_t CountBlocks() const;
  absl::Status CheckNothingIsLeft(const VitConfig& config) const;
  absl::StatusOr<at::Tensor> ReadParameter(const std::string& name, const std::vector<int64_t>& shape,
                                           at::ScalarType dtype);
  // The tensor of this name and shape, which is then asked for.
  absl::StatusOr<const TensorView*> Take(const std::string& file_name, const std::vector<int64_t>& shape);
  absl::Status ReadPositions(const VitConfig& config, at::ScalarType dtype, ParameterMap& parameters);

  const TeacherLayout& layout_;
  const WeightViews& weights_;
  const std::string wrapper_;
  const std::string prefix_;         // of the tower, the wrapper included
  int64_t rows_before_patches_ = 1;  // of the file's position table
  std::set<std::string> used_;
};

}  // namespace afterimage
