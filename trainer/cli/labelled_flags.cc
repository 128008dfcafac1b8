#include "trainer/cli/labelled_flags.h"

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "trainer/cli/interval_flag.h"
#include "trainer/cli/recipe_flags.h"

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

void AddScheduleFlags(CLI::App& command, bool with_duration, LabelledOptions& o) {
  command.add_option("--batch-size", o.batch_size)
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(kRecipeGroup);
  CLI::Option* const epochs = command.add_option("--epochs", o.epochs)
                                  ->capture_default_str()
                                  ->check(CLI::PositiveNumber)
                                  ->group(kRecipeGroup);
  if (with_duration) {
    command
        .add_option_function<double>(
            "--minutes", [&o](double minutes) { o.duration = absl::Minutes(minutes); },
            "train for a time instead of a number of epochs")
        ->check(CLI::PositiveNumber)
        ->excludes(epochs)
        ->group(kRecipeGroup);
  }
  CLI::Option* const blr =
      command.add_option("--blr", o.blr, "learning rate for 256 samples: lr = blr * batch / 256")
          ->group(kRecipeGroup);
  CLI::Option* const lr = command.add_option("--lr", o.lr, "learning rate as it is")
                              ->check(CLI::PositiveNumber)
                              ->excludes(blr)
                              ->group(kRecipeGroup);
  (o.lr > 0 ? lr : blr)->capture_default_str();
  blr->each([&o](const std::string&) { o.lr = 0; });  // where the default is an lr
  command.add_option("--min-lr", o.min_lr)->capture_default_str()->group(kRecipeGroup);
  command.add_option("--warmup-epochs", o.warmup_epochs)
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(kRecipeGroup);
  command.add_option("--weight-decay", o.weight_decay)->capture_default_str()->group(kRecipeGroup);
  command.add_option("--seed", o.seed, "of start values, order, views and augmentations")
      ->capture_default_str()
      ->group(kRecipeGroup);
}

void AddViewFlags(CLI::App& command, LabelledOptions& o) {
  command
      .add_option_function<std::string>(
          "--min-area",
          [&o](const std::string& text) {
            const std::string error = ParseRatio(text, o.min_area);
            if (!error.empty()) throw CLI::ValidationError("--min-area", error);
          },
          "smallest share of the picture in a crop, as a ratio")
      ->default_str(absl::StrCat(o.min_area.numerator, "/", o.min_area.denominator))
      ->group(kRecipeGroup);
  command.add_flag("--flip,!--no-flip", o.flip, "mirror half of the views (on)")->group(kRecipeGroup);
}

void AddAugmentationFlags(CLI::App& command, LabelledOptions& o) {
  const auto share = [&](const char* name, double& value, const char* text) {
    command.add_option(name, value, text)
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1.0))
        ->group(kRecipeGroup);
  };
  command.add_option("--rand-augment", o.rand_augment, "in timm's words, e.g. rand-m9-mstd0.5-inc1; or none")
      ->capture_default_str()
      ->group(kRecipeGroup);
  share("--random-erasing", o.random_erasing, "probability that a box of a view becomes noise");
  command.add_option("--mixup", o.mix.mixup_alpha, "alpha of mixup; 0 = off")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(kRecipeGroup);
  command.add_option("--cutmix", o.mix.cutmix_alpha, "alpha of CutMix; 0 = off")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(kRecipeGroup);
  share("--mix-prob", o.mix.probability, "probability of mixing a batch at all");
  share("--mix-switch-prob", o.mix.switch_probability, "of CutMix, where both are on");
}

void AddPartsFlags(CLI::App& command, LabelledOptions& o) {
  command
      .add_option("--accumulate", o.accumulate,
                  "parts in which a batch goes through the network: less memory, the same update")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(kRecipeGroup);
  command.add_option("--clip-grad", o.clip_grad, "largest norm of all gradients together; 0 = no clipping")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(kRecipeGroup);
  command
      .add_option(
          "--ema", o.ema,
          "decay of a moving average of the weights, e.g. 0.9999, which is then what is evaluated and "
          "written; 0 = none")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.999999))
      ->group(kRecipeGroup);
  command.add_option("--precision", o.precision, "of matrix products: f32, bf16 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->group(kRecipeGroup);
}

}  // namespace

void AddLabelledRecipeFlags(CLI::App& command, const LabelledFlagChoice& choice, LabelledOptions& o) {
  AddScheduleFlags(command, choice.duration, o);
  AddViewFlags(command, o);
  if (choice.augmentation) AddAugmentationFlags(command, o);
  if (choice.smoothing) {
    command.add_option("--label-smoothing", o.label_smoothing)
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1.0))
        ->group(kRecipeGroup);
  }
  if (choice.parts) AddPartsFlags(command, o);
}

void AddLabelledRunFlags(CLI::App& command, LabelledOptions& o) {
  command.add_option("--images", o.images, "labelled images: folder, tar or idx");
  command.add_option("--test-images", o.test_images, "held-out images of the same classes");
  command.add_option("--limit", o.limit, "take the first so many training images; 0 = all")
      ->capture_default_str();
  command.add_option(
      "--out", o.out,
      "folder of the run: model.safetensors, best_model.safetensors, checkpoints, metrics.jsonl, "
      "config.json, summary.json");
  command.add_option("--steps", o.steps, "end at this step; the schedule stays that of --epochs")
      ->check(CLI::PositiveNumber);
  command.add_option("--evaluate-every", o.evaluate_every, "epochs; the end is evaluated in any case")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  AddIntervalFlag(command, "--checkpoint-every", o.checkpoint_every, "steps, or as 2epochs (1epoch)");
  command.add_option("--keep", o.keep, "how many of the last checkpoints stay")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  AddIntervalFlag(command, "--keep-every", o.keep_every,
                  "which checkpoints are kept for good in OUT/kept: steps, or as 10epochs");
  command.add_option("--device", o.device, "cpu, cuda, cuda:1")->capture_default_str();
  command.add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command.add_option("--view-threads", o.view_threads, "that make views in the background")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--export-dtype", o.export_dtype, "of the written networks: f32 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16"}));
  command.add_flag("--resume,!--no-resume", o.resume, "go on from a checkpoint in --out (on)");
}

void AddStartNetworkFlags(CLI::App& command, StartNetworkOptions& options) {
  TeacherOptions& network = options.network;
  command.add_option("--weights", network.weights,
                     "the pretrained network: an export, a run's folder or checkpoint, or any ViT that "
                     "docs/teachers.md names");
  command.add_flag("--weights-ema", options.average, "of a checkpoint: the moving average of its weights");
  const char* const group = "The network: what no tensor and no file beside it tells";
  command.add_option("--family", network.family, "instead of recognising it")->group(group);
  command.add_option("--heads", network.num_heads, "attention heads")->group(group);
  command.add_option("--activation", network.activation, "gelu or quick_gelu, instead of the family's")
      ->group(group);
  command.add_option("--eps", network.layer_norm_eps, "LayerNorm eps, instead of the family's")->group(group);
  command.add_option("--mean", network.mean, "pixel mean in [0, 1]: three decimals, comma-separated")
      ->group(group);
  command.add_option("--std", network.std, "pixel standard deviation, likewise")->group(group);
  command
      .add_option("--image-size", network.image_size,
                  "side of the views, where it is not the network's own: positions are resized")
      ->group(kRecipeGroup);
}

std::string DerivedValues(const LabelledOptions& options) {
  return absl::StrCat("# peak learning rate ", DecimalText(options.LearningRate()), "\n");
}

int ReportLabelled(const absl::StatusOr<LabelledSummary>& summary) {
  if (!summary.ok()) return FailCommand(summary.status());
  std::printf("%s: %llu steps, %.1f minutes, loss %.4f", summary->weights.c_str(),
              static_cast<unsigned long long>(summary->steps), summary->minutes, summary->train_loss);
  if (summary->test.has_value()) {
    std::printf(", test top-1 %.2f %%, top-5 %.2f %% (best top-1 %.2f %% after epoch %llu)",
                100 * summary->test->top1(), 100 * summary->test->top5(), 100 * summary->best_top1,
                static_cast<unsigned long long>(summary->best_epoch));
  }
  std::printf("%s\n", summary->stopped ? " (stopped; the same command goes on)" : "");
  return summary->stopped ? StoppedExitStatus() : 0;
}

int RunLabelledRanks(const RankArguments& arguments, LabelledOptions& options,
                     const std::function<absl::StatusOr<LabelledSummary>(Communicator& ranks)>& run) {
  const absl::StatusOr<RanksOfCommand> joined = JoinRanks(arguments, options.device);
  if (!joined.ok()) return FailCommand(joined.status());
  Communicator& ranks = *joined->communicator;
  options.device = joined->device;
  const absl::StatusOr<LabelledSummary> summary = run(ranks);
  if (!summary.ok() && ranks.num_ranks() > 1)
    return FailCommand(WithContext(summary.status(), absl::StrCat("rank ", ranks.rank())));
  if (summary.ok() && ranks.rank() != 0) return summary->stopped ? StoppedExitStatus() : 0;
  return ReportLabelled(summary);
}

}  // namespace afterimage::trainer
