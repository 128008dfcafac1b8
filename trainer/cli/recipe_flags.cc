#include "trainer/cli/recipe_flags.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/usage_error.h"

namespace afterimage::trainer {
namespace {

std::vector<const CLI::Option*> RecipeOptions(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->get_group() == kRecipeGroup; });
}

absl::Status UnknownKey(const std::string& where, const std::string& key, const CLI::App& command) {
  const CLI::Option* const other = command.get_option_no_throw("--" + key);
  if (other != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, "\"", key, "\" is of a run, not of a recipe: give --", key, " on the command line"));
  }
  std::vector<std::string> keys;
  for (const CLI::Option* option : RecipeOptions(command)) keys.push_back(option->get_single_name());
  const std::string nearest = NearestName(key, keys);
  return absl::InvalidArgumentError(absl::StrCat(where, "unknown key \"", key, "\"",
                                                 nearest.empty()
                                                     ? absl::StrCat("; keys: ", absl::StrJoin(keys, ", "))
                                                     : absl::StrCat("; did you mean \"", nearest, "\"?")));
}

}  // namespace

absl::Status ApplyRecipe(const Recipe& recipe, CLI::App& command) {
  // What the command line says, before the recipe adds to it.
  std::set<std::string> given;
  for (const CLI::Option* option : RecipeOptions(command)) {
    if (option->count() > 0) given.insert(option->get_single_name());
  }
  for (const RecipeEntry& entry : recipe.entries) {
    const std::string where = absl::StrCat(recipe.source, ", line ", entry.line, ": ");
    CLI::Option* const option = command.get_option_no_throw("--" + entry.key);
    if (option == nullptr || option->get_group() != kRecipeGroup)
      return UnknownKey(where, entry.key, command);
    const std::set<CLI::Option*> excluded = option->get_excludes();
    const auto was_given = [&](const CLI::Option* other) { return given.contains(other->get_single_name()); };
    if (was_given(option) || std::ranges::any_of(excluded, was_given)) continue;
    for (const CLI::Option* other : excluded) {
      if (other->count() > 0) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, "\"", entry.key, "\" does not go with \"", other->get_single_name(), "\""));
      }
    }
    try {
      option->add_result(entry.value);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return absl::InvalidArgumentError(absl::StrCat(where, error.what()));
    }
  }
  return absl::OkStatus();
}

std::string EffectiveRecipe(const Recipe& recipe, const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : RecipeOptions(command)) {
    const std::string key = option->get_single_name();
    const std::string value = option->count() > 0 ? option->results().back() : option->get_default_str();
    if (value.empty()) continue;
    const bool in_recipe = std::ranges::any_of(
        recipe.entries, [&](const RecipeEntry& entry) { return entry.key == key && entry.value == value; });
    const std::string origin = option->count() == 0 ? "default" : in_recipe ? recipe.source : "flag";
    absl::StrAppendFormat(&text, "%-28s # %s\n", absl::StrCat(key, " = ", value), origin);
  }
  return text;
}

void AddRecipeCommand(CLI::App& command, CommandBody& chosen, std::string& recipe, RecipeCommand parts) {
  command.add_option("--recipe", recipe,
                     "a shipped recipe (`afterimage-train recipes` lists them) or a file; flags win over it");
  auto print = std::make_shared<bool>(false);
  command.add_flag("--print-config", *print,
                   "print the configuration that would be trained, as a recipe, and end");
  command.callback([&command, &chosen, &recipe, print, parts = std::move(parts)] {
    Recipe opened;
    absl::Status applied;
    if (!recipe.empty()) {
      absl::StatusOr<Recipe> read = OpenRecipe(recipe);
      applied = read.ok() ? ApplyRecipe(*read, command) : read.status();
      if (read.ok()) opened = *std::move(read);
    }
    if (!applied.ok()) {
      chosen = [applied] { return FailCommand(applied); };
      return;
    }
    if (*print) {
      const std::string text =
          EffectiveRecipe(opened, command) + (parts.derived ? parts.derived() : std::string());
      chosen = [text] {
        std::fputs(text.c_str(), stdout);
        return 0;
      };
      return;
    }
    for (const std::string& flag : parts.required) {
      if (command.count(flag) == 0) throw CLI::RequiredError(flag);
    }
    chosen = parts.run;
  });
}

}  // namespace afterimage::trainer
