// Recipes over the flags of a command: what a flag is called, takes and refuses is said once, where it is
// registered.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "absl/status/status.h"
#include "trainer/pretrain/recipe.h"

namespace afterimage::trainer {

// The group of the flags that a recipe may set; those of other groups say where things are, not what is
// trained.
inline constexpr char kRecipeGroup[] = "Recipe";

// To be called once the command line is parsed. Sets each flag that the recipe names, as if it had been
// given; but a flag that was given stays, and so does what it excludes (--lr against a recipe's blr).
// InvalidArgument names source, line and key: an unknown key (with the nearest known one), a flag of another
// group, a value that the flag refuses.
absl::Status ApplyRecipe(const Recipe& recipe, CLI::App& command);

// The values that hold, as a recipe: a line for each flag of the group that has a value, with where it comes
// from.
std::string EffectiveRecipe(const Recipe& recipe, const CLI::App& command);

}  // namespace afterimage::trainer
