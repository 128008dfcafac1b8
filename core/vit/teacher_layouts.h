// How each family of published vision transformers names its tensors, and what its files leave unsaid.
#pragma once

#include <string>
#include <vector>

#include "core/vit/position_tables.h"
#include "core/vit/teacher_settings.h"

namespace afterimage {

// A name in the file and ours; "#" stands for the number of the block. Separate projections map to attn.q,
// attn.k, attn.v. Several rules may give the same name of ours: the first one that the file has counts.
struct NameRule {
  std::string file;
  std::string ours;
};

// Which rows of the position table come before those of the patches.
enum class PositionRows {
  kClass,        // the class token
  kClassAndAll,  // the class token and the registers
  kVaries,       // none, the class token, or the class token and the registers: the number of rows tells
};

struct TeacherLayout {
  std::string name;
  std::vector<std::string> prefixes = {};  // what the image tower's names may begin with; besides nothing
  // Alternatives; of one of them every tensor must be there. Names within the tower; none: the family is
  // taken only when asked for by name.
  std::vector<std::vector<std::string>> signatures = {};
  std::string beside = {};  // a tensor outside the tower that must be there too; empty = none
  std::vector<NameRule> rules = {};
  std::vector<std::string> optional = {};  // starts of our names that files may lack altogether
  std::vector<std::string> ignored = {};  // starts of names within the tower that are no part of the features
  std::vector<std::string> ignored_outside = {};  // likewise beside the tower
  PositionRows position_rows = PositionRows::kClass;
  PositionResize resize = PositionResize::kSize;
  PositionResize resize_with_registers = PositionResize::kSize;
  TeacherSettings defaults = {};

  bool recognised() const { return !signatures.empty(); }
};

// All known layouts, the order in which files are recognised.
const std::vector<TeacherLayout>& TeacherLayouts();

}  // namespace afterimage
