#include <cstdio>
#include <memory>
#include <string>

#include "core/base/json_text.h"
#include "core/base/stop_signal.h"
#include "core/identity/canonical_spec.h"
#include "trainer/cli/command.h"
#include "trainer/cli/feature_flags.h"
#include "trainer/pretrain/validation.h"

namespace afterimage::trainer {
namespace {

void PrintJson(const ValidationOptions& options, const Validation& result) {
  const Json report = {{"checkpoint", options.checkpoint},
                       {"step", result.step},
                       {"features", result.features},
                       {"epoch", result.epoch},
                       {"loss", result.loss},
                       {"num_samples", result.num_samples},
                       {"num_left_out", result.num_left_out}};
  std::printf("%s\n", JsonText(report).c_str());
}

int Run(const ValidationOptions& options, bool json) {
  InstallStopSignalHandlers();
  const absl::StatusOr<Validation> result = Validate(options);
  if (!result.ok()) return FailCommand(result.status());
  if (json) {
    PrintJson(options, *result);
    return 0;
  }
  std::printf("%s\nloss %.5f  (the student after %llu steps; %llu samples of epoch %llu",
              result->features.c_str(), result->loss, static_cast<unsigned long long>(result->step),
              static_cast<unsigned long long>(result->num_samples),
              static_cast<unsigned long long>(result->epoch));
  if (result->num_left_out > 0)
    std::printf(", %llu left out", static_cast<unsigned long long>(result->num_left_out));
  std::printf(")\n");
  return 0;
}

}  // namespace

void AddValidateCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "validate", "Loss of a pre-trained student on other pictures, or on views it never saw.");
  auto options = std::make_shared<ValidationOptions>();
  auto json = std::make_shared<bool>(false);
  ValidationOptions& o = *options;
  command
      ->add_option("--checkpoint", o.checkpoint,
                   "of `pretrain`: a file, or a run's folder, which stands for its last one")
      ->required();
  command->add_flag("--ema", o.average, "the moving average of the weights, of a run with --ema");
  AddFeatureFlags(*command, o);
  command->add_option(
      "--epoch", o.epoch,
      "whose views and masks: with a cache the view seed is this modulo K (0); with --fresh every "
      "epoch has views of its own (1000000, which no run gets to)");
  command
      ->add_option_function<double>(
          "--mask-ratio",
          [&o](double ratio) {
            o.input.mask_ratio = LinearRange{ratio, ratio};
          },
          "share of the patches that the student does not see (0.7)")
      ->check(CLI::Range(0.0, 0.999))
      ->group("Features");
  AddMaskFlags(*command, o.input, /*group=*/"Features");
  command
      ->add_option_function<double>(
          "--min-area",
          [&o](double area) {
            o.input.min_area = LinearRange{area, area};
          },
          "with --teacher and without --like: least share of the picture in a crop (0.2)")
      ->check(CLI::Range(0.0, 1.0))
      ->group("Features");
  command->add_option("--batch-size", o.batch_size, "fewer pictures than that at the end are left out")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--steps", o.steps, "so many batches instead of the whole epoch")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", *json, "one JSON object instead of lines");
  command->add_option("--device", o.device, "cpu, cuda, cuda:1")->capture_default_str();
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command->callback([options, json, &chosen] {
    options->input.teacher.num_threads = options->num_threads;
    options->input.teacher.device = options->device;
    chosen = [options, json] { return Run(*options, *json); };
  });
}

}  // namespace afterimage::trainer
