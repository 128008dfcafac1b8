#include <cstdio>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/supervise/supervised_trainer.h"

namespace afterimage::trainer {
namespace {

// "1/3" or "1".
std::string ParseRatio(const std::string& text, Ratio& ratio) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  Ratio parsed;
  if (parts.size() > 2 || !absl::SimpleAtoi(parts[0], &parsed.numerator) ||
      (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &parsed.denominator)) || parsed.denominator == 0) {
    return "\"" + text + "\" is not a ratio such as 1/3";
  }
  ratio = parsed;
  return "";
}

int Run(const SupervisedOptions& options) {
  const absl::StatusOr<SupervisedSummary> summary = TrainSupervised(options);
  if (!summary.ok()) return FailCommand(summary.status());
  std::printf("%s: %llu steps, %.1f minutes, loss %.4f", summary->weights.c_str(),
              static_cast<unsigned long long>(summary->steps), summary->minutes, summary->train_loss);
  if (summary->test_accuracy >= 0) std::printf(", test top-1 %.2f %%", 100 * summary->test_accuracy);
  std::printf("%s\n", summary->stopped ? " (stopped; the same command goes on)" : "");
  return summary->stopped ? StoppedExitStatus() : 0;
}

}  // namespace

void AddSuperviseCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "supervise", "Trains a small ViT on labelled images: makes a teacher where there is none.");
  auto options = std::make_shared<SupervisedOptions>();
  auto minutes = std::make_shared<double>(0);
  SupervisedOptions& o = *options;
  command->add_option("--images", o.images, "labelled images: folder, tar or idx")->required();
  command->add_option("--test-images", o.test_images, "held-out images of the same classes");
  command->add_option("--out", o.out, "folder for model.safetensors, summary.json and checkpoints")
      ->required();
  command->add_option("--image-size", o.image_size)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--patch-size", o.patch_size)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--width", o.width)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--depth", o.depth)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--heads", o.heads)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--mean", o.mean, "of the pixels: three decimals")->capture_default_str();
  command->add_option("--std", o.deviation, "of the pixels: three decimals")->capture_default_str();
  command->add_option_function<std::string>(
      "--min-area",
      [options](const std::string& text) {
        const std::string error = ParseRatio(text, options->min_area);
        if (!error.empty()) throw CLI::ValidationError("--min-area", error);
      },
      "smallest share of the picture in a crop (1/3)");
  command->add_flag("--flip,!--no-flip", o.flip, "mirror half of the views (on)");
  command->add_option("--batch-size", o.batch_size)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--lr", o.lr)->capture_default_str();
  command->add_option("--min-lr", o.min_lr)->capture_default_str();
  command->add_option("--weight-decay", o.weight_decay)->capture_default_str();
  command->add_option("--warmup-epochs", o.warmup_epochs)->capture_default_str();
  command->add_option("--label-smoothing", o.label_smoothing)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--drop-path", o.drop_path)->capture_default_str()->check(CLI::Range(0.0, 0.99));
  CLI::Option* epochs =
      command->add_option("--epochs", o.epochs)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_option("--minutes", *minutes, "train for a time instead of a number of epochs")
      ->check(CLI::PositiveNumber)
      ->excludes(epochs);
  command->add_option("--seed", o.seed)->capture_default_str();
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command->add_option("--view-threads", o.view_threads, "that make views in the background")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--export-dtype", o.export_dtype, "f32 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16"}));
  command->add_flag("--resume,!--no-resume", o.resume, "go on from a checkpoint in --out (on)");
  command->callback([options, minutes, &chosen] {
    options->duration = absl::Minutes(*minutes);
    chosen = [options] {
      InstallStopSignalHandlers();
      return Run(*options);
    };
  });
}

}  // namespace afterimage::trainer
