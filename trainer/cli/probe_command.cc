#include <memory>
#include <string>

#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/cli/labelled_flags.h"
#include "trainer/cli/recipe_flags.h"
#include "trainer/probe/probe.h"

namespace afterimage::trainer {

void AddProbeCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command =
      app.add_subcommand("probe", "Trains a linear layer on frozen features; the defaults are MAE's recipe.");
  auto options = std::make_shared<ProbeOptions>();
  auto crops = std::make_shared<std::string>("random");
  ProbeOptions& o = *options;
  AddStartNetworkFlags(*command, o.start);
  AddLabelledRunFlags(*command, o.run);
  command->add_option("--pool", o.pool, "the features: token (the class token) or mean (of the patches)")
      ->capture_default_str()
      ->check(CLI::IsMember({"token", "mean"}))
      ->group(kRecipeGroup);
  command
      ->add_option(
          "--crops", *crops,
          "random: new ones in every epoch, each through the network; none: the centre views, through "
          "the network once")
      ->capture_default_str()
      ->check(CLI::IsMember({"random", "none"}))
      ->group(kRecipeGroup);
  command->add_option("--features-dtype", o.features_dtype, "of features that are kept in memory: f32 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16"}))
      ->group(kRecipeGroup);
  command->add_option("--optimizer", o.optimizer, "lars or sgd, with momentum")
      ->capture_default_str()
      ->check(CLI::IsMember({"lars", "sgd"}))
      ->group(kRecipeGroup);
  command->add_option("--momentum", o.momentum)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.999999))
      ->group(kRecipeGroup);
  AddLabelledRecipeFlags(*command, {.smoothing = false}, o.run);
  const auto run = [options, crops] {
    options->random_crops = *crops == "random";
    InstallStopSignalHandlers();
    return ReportLabelled(Probe(*options));
  };
  AddRecipeCommand(*command, chosen, o.run.recipe,
                   {.required = {"--weights", "--images", "--out"},
                    .derived = [options] { return DerivedValues(options->run); },
                    .run = run});
}

}  // namespace afterimage::trainer
