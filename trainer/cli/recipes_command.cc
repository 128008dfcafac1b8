#include <cstdio>
#include <memory>

#include "trainer/cli/command.h"
#include "trainer/recipes/recipe.h"

namespace afterimage::trainer {
namespace {

int ListRecipes() {
  for (const ShippedRecipe& shipped : ShippedRecipes()) {
    const absl::StatusOr<Recipe> recipe = OpenRecipe(shipped.name);
    if (!recipe.ok()) return FailCommand(recipe.status());
    std::printf("%-24s %s\n", shipped.name.c_str(), recipe->summary.c_str());
  }
  return 0;
}

int ShowRecipe(const std::string& name) {
  for (const ShippedRecipe& shipped : ShippedRecipes()) {
    if (shipped.name != name) continue;
    std::fputs(shipped.text.c_str(), stdout);
    return 0;
  }
  const absl::StatusOr<Recipe> other = OpenRecipe(name);
  return FailCommand(other.ok() ? absl::InvalidArgumentError(name + " is a file, no shipped recipe")
                                : other.status());
}

}  // namespace

void AddRecipesCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "recipes",
      "Lists the recipes for --recipe of `pretrain` and `finetune`, or shows one as a file to start from.");
  auto name = std::make_shared<std::string>();
  command->add_option("name", *name, "the recipe to show");
  command->callback(
      [name, &chosen] { chosen = [name] { return name->empty() ? ListRecipes() : ShowRecipe(*name); }; });
}

}  // namespace afterimage::trainer
