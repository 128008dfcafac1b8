// The published layouts of vision transformers, and reading one as a teacher with timm's names.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/position_tables.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/teacher_settings.h"
#include "core/vit/vit.h"

namespace afterimage {

// A teacher, read and fully resolved.
struct TeacherModel {
  std::string family;
  VitConfig config;                                        // image_size as asked for
  int64_t native_grid = 0;                                 // of the position table in the file
  PositionResize position_resize = PositionResize::kSize;  // what was done where the grid differs
  ChannelValues mean{};
  ChannelValues std{};
  ParameterMap parameters;  // VitParameterShapes(config), on the CPU; the position table is resized already

  bool resized() const { return config.grid() != native_grid; }
};

// Names of the known families, as docs/teachers.md lists them: "timm_vit", "hf_clip", "open_clip",
// "hf_dinov2", …
std::vector<std::string> TeacherFamilyNames();

// Tensors under these prefixes are no weights: golden files carry inputs and outputs beside them.
const std::vector<std::string>& NonWeightPrefixes();

// Reads the weights in `dtype`. Separate q, k and v are joined; text towers, projections, poolers, decoders
// and classifiers are passed over, and so is a prefix such as "module." of all names. InvalidArgument: the
// family is unknown (the known ones are listed); several towers of it; a tensor is missing, one too many, of
// a wrong shape (named, both shapes told) or not floating point; a setting that the file does not tell is not
// given (its choices are listed); an image size that the patches do not divide. The options say what the
// flags say; `options.weights` and the device are not looked at.
absl::StatusOr<TeacherModel> LoadTeacherModel(const SafetensorsFile& file, const TeacherOptions& options,
                                              at::ScalarType dtype);

}  // namespace afterimage
