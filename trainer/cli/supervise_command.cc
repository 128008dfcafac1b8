#include <memory>

#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/cli/labelled_flags.h"
#include "trainer/cli/recipe_flags.h"
#include "trainer/supervise/supervised_trainer.h"

namespace afterimage::trainer {

void AddSuperviseCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "supervise", "Trains a small ViT on labelled images: makes a teacher where there is none.");
  auto options = std::make_shared<SupervisedOptions>();
  SupervisedOptions& o = *options;
  AddLabelledRunFlags(*command, o.run);
  const auto positive = [&](const char* name, int64_t& value) {
    command->add_option(name, value)->capture_default_str()->check(CLI::PositiveNumber)->group(kRecipeGroup);
  };
  positive("--image-size", o.image_size);
  positive("--patch-size", o.patch_size);
  positive("--width", o.width);
  positive("--depth", o.depth);
  positive("--heads", o.heads);
  command->add_option("--mean", o.mean, "of the pixels: three decimals")
      ->capture_default_str()
      ->group(kRecipeGroup);
  command->add_option("--std", o.deviation, "of the pixels: three decimals")
      ->capture_default_str()
      ->group(kRecipeGroup);
  command->add_option("--drop-path", o.drop_path)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.99))
      ->group(kRecipeGroup);
  AddLabelledRecipeFlags(*command, {.augmentation = true, .parts = true, .duration = true}, o.run);
  auto rank_arguments = std::make_shared<RankArguments>();
  AddRankFlags(*command, *rank_arguments);
  const auto run = [options, rank_arguments] {
    InstallStopSignalHandlers();
    return RunLabelledRanks(*rank_arguments, options->run,
                            [&](Communicator& ranks) { return TrainSupervised(*options, ranks); });
  };
  AddRecipeCommand(*command, chosen, o.run.recipe,
                   {.required = {"--images", "--out"},
                    .derived = [options] { return DerivedValues(options->run); },
                    .run = run});
}

}  // namespace afterimage::trainer
