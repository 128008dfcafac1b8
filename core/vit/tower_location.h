// Finds the image tower among the names of a checkpoint.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_layouts.h"

namespace afterimage {

using WeightViews = std::map<std::string, const TensorView*>;

// A tower's tensors are named wrapper + prefix + the layout's name: "module." + "vision_model." +
// "embeddings.class_embedding".
struct TowerLocation {
  const TeacherLayout* layout = nullptr;
  std::string
      wrapper;         // what training code put before the family's own names: "module.", "teacher.backbone."
  std::string prefix;  // one of the layout's, or empty
};

// By the tensors that only one family has, or by the name of the family. InvalidArgument: no family that is
// known (they are listed), an unknown name, or several towers (their places are listed).
absl::StatusOr<TowerLocation> LocateTower(const WeightViews& weights, const std::string& family);

// The layout's name in the file of one of ours, "#" in both: of several the first whose block 0 the file has
// under `prefix`, or else the first. Empty: the family has none.
std::string FileNameOf(const TeacherLayout& layout, const WeightViews& weights, const std::string& prefix,
                       const std::string& ours);

// `pattern` with the number of a block in the place of "#".
std::string OfBlock(const std::string& pattern, int64_t block);

}  // namespace afterimage
