// Recipes: configurations of pre-training as text that people read, change and hand on.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage::trainer {

// One line "drop-path = 0.1": a flag of `pretrain` without its dashes, and its value.
struct RecipeEntry {
  std::string key;
  std::string value;
  int line = 0;  // from 1
};

struct Recipe {
  std::string source;   // for messages: "recipe maskalign-vit-b16", or a path
  std::string summary;  // the first line that is a comment, without its '#'
  std::vector<RecipeEntry> entries;
};

// Lines are "key = value", blank, or comments; a comment begins with '#', at the front of a line or after
// white space. What keys and values mean is the caller's business. InvalidArgument names source and line: no
// '=', an empty key or value, a key that comes twice.
absl::StatusOr<Recipe> ParseRecipe(const std::string& source, absl::string_view text);

// The recipes that are built into the program.
struct ShippedRecipe {
  std::string name;
  std::string text;
};
const std::vector<ShippedRecipe>& ShippedRecipes();  // ascending by name

// The shipped recipe of that name, or else the file. InvalidArgument: neither; the nearest name and all names
// are told.
absl::StatusOr<Recipe> OpenRecipe(const std::string& name_or_file);

}  // namespace afterimage::trainer
