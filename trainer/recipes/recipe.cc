#include "trainer/recipes/recipe.h"

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/base/usage_error.h"

namespace afterimage::trainer {
namespace {

// Where the comment of a line begins; its length where there is none.
size_t CommentBegin(absl::string_view line) {
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || absl::ascii_isspace(static_cast<unsigned char>(line[i - 1])))) return i;
  }
  return line.size();
}

}  // namespace

absl::StatusOr<Recipe> ParseRecipe(const std::string& source, absl::string_view text) {
  Recipe recipe;
  recipe.source = source;
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const size_t comment = CommentBegin(line);
    const absl::string_view content = absl::StripAsciiWhitespace(line.substr(0, comment));
    if (content.empty()) {
      if (recipe.summary.empty() && comment < line.size())
        recipe.summary = std::string(absl::StripAsciiWhitespace(line.substr(comment + 1)));
      continue;
    }
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(content, absl::MaxSplits('=', 1));
    RecipeEntry entry{std::string(absl::StripAsciiWhitespace(parts.first)),
                      std::string(absl::StripAsciiWhitespace(parts.second)), number};
    if (entry.key.empty() || entry.value.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, ", line ", number, ": \"", content, "\" is not \"key = value\""));
    }
    for (const RecipeEntry& earlier : recipe.entries) {
      if (earlier.key != entry.key) continue;
      return absl::InvalidArgumentError(absl::StrCat(source, ", line ", number, ": \"", entry.key,
                                                     "\" was said in line ", earlier.line, " already"));
    }
    recipe.entries.push_back(std::move(entry));
  }
  return recipe;
}

absl::StatusOr<Recipe> OpenRecipe(const std::string& name_or_file) {
  std::vector<std::string> names;
  for (const ShippedRecipe& recipe : ShippedRecipes()) {
    if (recipe.name == name_or_file) return ParseRecipe("recipe " + recipe.name, recipe.text);
    names.push_back(recipe.name);
  }
  std::error_code error;
  if (std::filesystem::exists(name_or_file, error)) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(name_or_file));
    return ParseRecipe(name_or_file, text);
  }
  const std::string nearest = NearestName(name_or_file, names);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name_or_file, "\" is neither a recipe nor a file",
                   nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?"),
                   "; recipes: ", absl::StrJoin(names, ", ")));
}

}  // namespace afterimage::trainer
