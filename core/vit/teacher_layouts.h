// How each family of published vision transformers names its tensors, and what its files leave unsaid.
#pragma once

#include <string>
#include <vector>

#include "core/vit/position_tables.h"
#include "core/vit/teacher_settings.h"

namespace afterimage {

// A name in the file and ours; "#" stands for the number of the block. Separate projections map to attn.q,
// attn.k, attn.v.
struct NameRule {
  std::string file;
  std::string ours;
};

struct TeacherLayout {
  std::string name;
  std::vector<std::string> prefixes;  // of the image tower's names, in order of preference
  std::string signature;              // after the prefix: a tensor that no other family has
  bool recognised = true;             // false: only when asked for by name
  std::vector<NameRule> rules;
  std::vector<std::string> optional;  // starts of our names that files may lack altogether
  std::vector<std::string> ignored;   // starts of names, prefix included, that are no part of the features
  PositionResize resize = PositionResize::kSize;
  TeacherSettings defaults;
};

// All known layouts, the order in which files are recognised.
const std::vector<TeacherLayout>& TeacherLayouts();

}  // namespace afterimage
