// The published models whose head count is known by their sizes: no weight file tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/vit/vit.h"

namespace afterimage {

// One row of the table in docs/teachers.md.
struct KnownTeacher {
  std::string name;
  std::vector<std::string> families;
  int64_t width = 0;
  int64_t depth = 0;
  int64_t mlp_width = 0;
  std::vector<int64_t> patch_sizes;
  int64_t heads = 0;
};
const std::vector<KnownTeacher>& KnownTeachers();

// The head count of the known model of this family with the width, depth, MLP width and patch size of
// `config`; nothing where there is none.
std::optional<int64_t> KnownHeads(const std::string& family, const VitConfig& config);

}  // namespace afterimage
