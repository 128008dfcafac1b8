// Recipes: their text, those that ship, and what `pretrain` makes of them together with flags.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/child_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/recipes/recipe.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::Finished;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::RunProgram;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::TemporaryFolder;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

Finished Train(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), AFTERIMAGE_BINARY_DIR "/bin/afterimage-train");
  return RunProgram(std::move(arguments));
}
Finished Print(std::vector<std::string> arguments, const std::string& command = "pretrain") {
  arguments.insert(arguments.begin(), {command, "--print-config"});
  return Train(std::move(arguments));
}

class RecipeFileTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) const {
    const std::string path = (folder_ / "own.recipe").string();
    std::ofstream(path) << text;
    return path;
  }
  const TemporaryFolder folder_;
};

TEST(ParseRecipeTest, CommentsBlankLinesAndSpacesAreNoEntries) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const Recipe recipe,
      ParseRecipe("r", "\n# What it is.\n  # more\nepochs=3   # a few\n\tmodel =  a#b \r\n"));
  EXPECT_EQ(recipe.summary, "What it is.");
  ASSERT_EQ(recipe.entries.size(), 2u);
  EXPECT_EQ(recipe.entries[0].key, "epochs");
  EXPECT_EQ(recipe.entries[0].value, "3");
  EXPECT_EQ(recipe.entries[0].line, 4);
  EXPECT_EQ(recipe.entries[1].key, "model");
  EXPECT_EQ(recipe.entries[1].value, "a#b");
}

TEST(ParseRecipeTest, LinesThatSayNothingOrSayItTwiceAreRefusedByNumber) {
  for (const char* text : {"epochs = 3\nepochs", "epochs = 3\n= 4", "epochs = 3\nblr = # none"}) {
    EXPECT_THAT(ParseRecipe("r", text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("r, line 2")))
        << text;
  }
  EXPECT_THAT(
      ParseRecipe("r", "epochs = 3\n\nepochs = 3"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 3: \"epochs\" was said in line 1")));
}

TEST(ShippedRecipesTest, EachIsListedShownAndAccepted) {
  ASSERT_GE(ShippedRecipes().size(), 4u);
  const Finished list = Train({"recipes"});
  EXPECT_EQ(list.status, 0) << list.Text();
  for (const ShippedRecipe& shipped : ShippedRecipes()) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Recipe recipe, OpenRecipe(shipped.name));
    EXPECT_FALSE(recipe.summary.empty());
    EXPECT_THAT(list.out, AllOf(HasSubstr(shipped.name), HasSubstr(recipe.summary)));
    EXPECT_EQ(Train({"recipes", shipped.name}).out, shipped.text);
    const bool finetunes = absl::StartsWith(shipped.name, "finetune-");
    const Finished print = Print({"--recipe", shipped.name}, finetunes ? "finetune" : "pretrain");
    EXPECT_EQ(print.status, 0) << print.Text();
    for (const RecipeEntry& entry : recipe.entries)
      EXPECT_THAT(print.out, HasSubstr(entry.key + " = " + entry.value + " "));
  }
}

// What says nothing gets the numbers of this recipe all the same.
Finished ExpectDefaultsOf(const std::string& recipe, const std::string& command,
                          const std::string& but = "-") {
  const Finished silent = Print({}, command);
  const absl::StatusOr<Recipe> defaults = ParseRecipe("defaults", silent.out);
  const absl::StatusOr<Recipe> published = OpenRecipe(recipe);
  EXPECT_THAT(defaults.status(), IsOk());
  EXPECT_THAT(published.status(), IsOk());
  if (!defaults.ok() || !published.ok()) return silent;
  for (const RecipeEntry& entry : published->entries) {
    if (entry.key.starts_with(but)) continue;
    const auto found = std::ranges::find(defaults->entries, entry.key, &RecipeEntry::key);
    if (found == defaults->entries.end()) {
      ADD_FAILURE() << entry.key << " has no default";
      continue;
    }
    char* end = nullptr;
    const double number = std::strtod(entry.value.c_str(), &end);
    if (*end == 0) {
      EXPECT_EQ(std::strtod(found->value.c_str(), nullptr), number) << entry.key;
    } else {
      EXPECT_EQ(found->value, entry.value) << entry.key;
    }
  }
  return silent;
}

// maskalign.md section 1.8 and the README of the authors' code.
TEST(ShippedRecipesTest, ThePublishedOnesHaveThePublishedValuesAndAreTheDefaults) {
  const Finished base = Print({"--recipe", "maskalign-vit-b16"});
  for (const char* line : {"model = vit_base ", "mask-type = attention ", "mask-ratio = 0.7 ",
                           "fusion = linear ", "head = linear ", "target-norm = whiten ", "loss = smoothl1 ",
                           "loss-weights = top5 ", "batch-size = 1024 ", "epochs = 200 ", "blr = 1.5e-4 ",
                           "min-lr = 1e-5 ", "weight-decay = 0.05 ", "beta1 = 0.9 ", "beta2 = 0.95 ",
                           "drop-path = 0.1 ", "# peak learning rate 6e-04", "warm-up 20 epochs"}) {
    EXPECT_THAT(base.out, HasSubstr(line));
  }
  const Finished large = Print({"--recipe", "maskalign-vit-l16"});
  EXPECT_THAT(large.out, AllOf(HasSubstr("model = vit_large "), HasSubstr("drop-path = 0.2 ")));
  // But for masks: a set may have its own.
  const Finished silent = ExpectDefaultsOf("maskalign-vit-b16", "pretrain", "mask-");
  EXPECT_THAT(silent.out, HasSubstr("# peak learning rate 6e-04, warm-up 20 epochs"));
}

// maskalign.md section 1.9.
TEST(ShippedRecipesTest, FineTuningHasThePublishedValuesAndTheyAreTheDefaults) {
  const Finished silent = ExpectDefaultsOf("finetune-vit-b16", "finetune");
  for (const char* line :
       {"pool = mean ", "layer-decay = 0.55 ", "drop-path = 0.2 ", "batch-size = 1024 ", "epochs = 100 ",
        "min-lr = 1e-06 ", "min-area = 2/25 ", "rand-augment = rand-m9-mstd0.5-inc1 ",
        "random-erasing = 0.25 ", "mixup = 0.8 ", "label-smoothing = 0.1 ", "# peak learning rate 0.0012"}) {
    EXPECT_THAT(silent.out, HasSubstr(line));
  }
  const Finished other = Print({"--recipe", "maskalign-vit-b16"}, "finetune");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.err, HasSubstr("unknown key \"model\""));
}

TEST_F(RecipeFileTest, FlagsWinOverTheRecipeAndTheRecipeOverDefaults) {
  const std::string path = Write("epochs = 7\nblr = 1e-3\nhead = mlp\n");
  const Finished print = Print({"--recipe", path, "--epochs", "9"});
  EXPECT_EQ(print.status, 0) << print.Text();
  EXPECT_THAT(print.out, AllOf(ContainsRegex("epochs = 9 +# flag"), ContainsRegex("blr = 1e-3 +# /"),
                               ContainsRegex("drop-path = 0.1 +# default")));
  // A flag also wins over what it excludes.
  const Finished rate = Print({"--recipe", path, "--lr", "0.25"});
  EXPECT_THAT(rate.out, AllOf(HasSubstr("peak learning rate 0.25"), Not(HasSubstr("blr = 1e-3"))));
  const Finished absolute = Print({"--recipe", Write("lr = 0.25\n"), "--blr", "1"});
  EXPECT_THAT(absolute.out, HasSubstr("peak learning rate 4,"));
}

TEST_F(RecipeFileTest, WhatIsPrintedIsARecipeOfTheSameConfiguration) {
  const Finished first =
      Print({"--recipe", "maskalign-tiny-28px", "--weight-decay", "0.2", "--mask-type", "random"});
  const Finished again = Print({"--recipe", Write(first.out)});
  EXPECT_EQ(again.status, 0) << again.Text();
  const auto entries = [](const std::string& text) {
    std::vector<std::string> pairs;
    const absl::StatusOr<Recipe> recipe = ParseRecipe("r", text);
    if (recipe.ok()) {
      for (const RecipeEntry& entry : recipe->entries) pairs.push_back(entry.key + "=" + entry.value);
    }
    return pairs;
  };
  EXPECT_EQ(entries(first.out), entries(again.out));
  EXPECT_THAT(entries(first.out), ::testing::Contains("mask-type=random"));
}

TEST_F(RecipeFileTest, WhatCannotBeMeantIsRefusedWithTheLineAndTheRemedy) {
  struct Case {
    std::string text;
    std::vector<std::string> wanted;
  };
  for (const Case& c :
       std::vector<Case>{{"\ndrop-pth = 0.1", {"line 2", "unknown key \"drop-pth\"", "drop-path"}},
                         {"drop_path = 0.1", {"unknown key \"drop_path\"", "did you mean \"drop-path\""}},
                         {"cache = /x", {"line 1", "--cache on the command line"}},
                         {"epochs = many", {"line 1", "--epochs"}},
                         {"drop-path = 2", {"--drop-path", "2"}},
                         {"mask-ratio = 0.5:2", {"line 1", "--mask-ratio", "from 0 to 0.999"}},
                         {"precision = fp16", {"line 1", "--precision", "bf16"}},
                         {"mask-type = block", {"--mask-type", "random"}},
                         {"lr = 1\nblr = 1", {"line 2", "\"blr\" does not go with \"lr\""}}}) {
    const Finished refused = Print({"--recipe", Write(c.text)});
    EXPECT_EQ(refused.status, 2) << c.text << refused.Text();
    for (const std::string& text : c.wanted) EXPECT_THAT(refused.err, HasSubstr(text)) << c.text;
  }
  const Finished unknown = Print({"--recipe", "maskalign-vit-b61"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean \"maskalign-vit-b16\"?"));
  EXPECT_EQ(Train({"recipes", "nothing"}).status, 2);
  const Finished without = Train({"pretrain", "--recipe", "maskalign-vit-b16"});
  EXPECT_EQ(without.status, 2);
  EXPECT_THAT(without.err, HasSubstr("--out is required"));
}

}  // namespace
}  // namespace afterimage::trainer
