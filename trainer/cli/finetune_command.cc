#include <memory>

#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/cli/labelled_flags.h"
#include "trainer/cli/recipe_flags.h"
#include "trainer/finetune/finetune.h"

namespace afterimage::trainer {

void AddFinetuneCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "finetune", "Makes a classifier of a pretrained ViT; the defaults are finetune-vit-b16.");
  auto options = std::make_shared<FinetuneOptions>();
  FinetuneOptions& o = *options;
  AddStartNetworkFlags(*command, o.start);
  AddLabelledRunFlags(*command, o.run);
  command
      ->add_option("--pool", o.pool,
                   "what the head sees: mean (of the patches, behind a new norm) or token (the class token)")
      ->capture_default_str()
      ->check(CLI::IsMember({"mean", "token"}))
      ->group(kRecipeGroup);
  command
      ->add_option("--layer-decay", o.layer_decay,
                   "factor of the learning rate from each layer to the one before it; 1 = none")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0))
      ->group(kRecipeGroup);
  command->add_option("--drop-path", o.drop_path)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.99))
      ->group(kRecipeGroup);
  AddLabelledRecipeFlags(*command, {.augmentation = true, .parts = true}, o.run);
  auto rank_arguments = std::make_shared<RankArguments>();
  AddRankFlags(*command, *rank_arguments);
  const auto run = [options, rank_arguments] {
    InstallStopSignalHandlers();
    return RunLabelledRanks(*rank_arguments, options->run,
                            [&](Communicator& ranks) { return Finetune(*options, ranks); });
  };
  AddRecipeCommand(*command, chosen, o.run.recipe,
                   {.required = {"--weights", "--images", "--out"},
                    .derived = [options] { return DerivedValues(options->run); },
                    .run = run});
}

}  // namespace afterimage::trainer
