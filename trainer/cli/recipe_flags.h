// Recipes over the flags of a command: what a flag is called, takes and refuses is said once, where it is
// registered.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/cli/command.h"
#include "trainer/recipes/recipe.h"

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

// A command that takes recipes.
struct RecipeCommand {
  std::vector<std::string> required;     // flags that a run cannot do without, --print-config can
  std::function<std::string()> derived;  // comments behind the printed configuration; may be empty
  std::function<int()> run;              // the exit status
};
// Adds --recipe, whose name goes to `recipe`, and --print-config; and says to `chosen` what is to be done
// once the command line is parsed. `command` and `recipe` must live as long as the app.
void AddRecipeCommand(CLI::App& command, CommandBody& chosen, std::string& recipe, RecipeCommand parts);

}  // namespace afterimage::trainer
