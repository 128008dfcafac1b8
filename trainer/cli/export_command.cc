#include <cstdio>
#include <memory>

#include "trainer/checkpoint/export_student.h"
#include "trainer/cli/command.h"

namespace afterimage::trainer {

void AddExportCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand("export", "Writes the student of a checkpoint in timm's names.");
  struct Options {
    std::string checkpoint, out, dtype = "f32";
    bool average = false;
  };
  auto options = std::make_shared<Options>();
  command
      ->add_option("--checkpoint", options->checkpoint,
                   "a checkpoint of `pretrain`, or the folder of its run")
      ->required();
  command->add_option("--out", options->out, "the .safetensors file to write")->required();
  command->add_option("--dtype", options->dtype, "f32 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16"}));
  command->add_flag("--ema", options->average,
                    "the moving average of the weights (`pretrain --ema`), not the last ones");
  command->callback([options, &chosen] {
    chosen = [options] {
      const absl::Status status =
          ExportStudent(options->checkpoint, options->out, options->dtype,
                        options->average ? ExportedWeights::kAverage : ExportedWeights::kLast);
      if (!status.ok()) return FailCommand(status);
      std::printf("%s\n", options->out.c_str());
      return 0;
    };
  });
}

}  // namespace afterimage::trainer
