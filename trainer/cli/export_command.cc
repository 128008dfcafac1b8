#include <cstdio>
#include <memory>

#include "trainer/checkpoint/export_network.h"
#include "trainer/cli/command.h"

namespace afterimage::trainer {

void AddExportCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "export", "Writes the network of a checkpoint in the names of timm or of Hugging Face.");
  auto options = std::make_shared<ExportOptions>();
  auto average = std::make_shared<bool>(false);
  auto names = std::make_shared<std::string>("timm");
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "a checkpoint of `pretrain`, `finetune` or `supervise`, or the folder of its run")
      ->required();
  command
      ->add_option(
          "--out", options->out,
          "timm: the .safetensors file to write; hf: a folder for model.safetensors, config.json and "
          "preprocessor_config.json")
      ->required();
  command
      ->add_option("--names", *names,
                   "timm: VisionTransformer; hf: transformers' ViTModel, or ViTForImageClassification")
      ->capture_default_str()
      ->check(CLI::IsMember({"timm", "hf"}));
  command->add_option("--dtype", options->dtype, "f32 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16"}));
  command->add_flag("--ema", *average,
                    "the moving average of the weights (a run with --ema), not the last ones");
  command->callback([options, average, names, &chosen] {
    if (*average) options->weights = ExportedWeights::kAverage;
    if (*names == "hf") options->names = ExportedNames::kHuggingFace;
    chosen = [options] {
      const absl::StatusOr<std::vector<std::string>> paths = ExportNetwork(*options);
      if (!paths.ok()) return FailCommand(paths.status());
      for (const std::string& path : *paths) std::printf("%s\n", path.c_str());
      return 0;
    };
  });
}

}  // namespace afterimage::trainer
