#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/cli/feature_flags.h"
#include "trainer/cli/interval_flag.h"
#include "trainer/cli/rank_flags.h"
#include "trainer/cli/recipe_flags.h"
#include "trainer/pretrain/pretrainer.h"
#include "trainer/pretrain/run_config.h"
#include "trainer/recipes/recipe.h"

namespace afterimage::trainer {
namespace {

int Run(PretrainOptions options, const RankArguments& arguments) {
  const absl::StatusOr<RanksOfCommand> joined = JoinRanks(arguments, options.device);
  if (!joined.ok()) return FailCommand(joined.status());
  Communicator& ranks = *joined->communicator;
  options.device = joined->device;
  options.input.teacher.device = joined->device;
  const absl::StatusOr<PretrainSummary> summary = Pretrain(options, ranks);
  if (!summary.ok()) {
    return FailCommand(ranks.num_ranks() == 1
                           ? summary.status()
                           : WithContext(summary.status(), absl::StrCat("rank ", ranks.rank())));
  }
  if (ranks.rank() != 0) return summary->stopped ? StoppedExitStatus() : 0;
  std::printf("%s: %llu steps, loss %.4f, %.0f images/s, input wait %.1f %%", summary->checkpoint.c_str(),
              static_cast<unsigned long long>(summary->steps), summary->last_loss, summary->images_per_second,
              100 * summary->wait_share);
  if (summary->num_failed + summary->num_skipped > 0) {
    std::printf(", %llu samples of undecodable pictures and %llu of absent records left out",
                static_cast<unsigned long long>(summary->num_failed),
                static_cast<unsigned long long>(summary->num_skipped));
  }
  if (summary->num_computed > 0) {
    std::printf(", %llu samples computed that the cache lacks",
                static_cast<unsigned long long>(summary->num_computed));
  }
  if (summary->num_skipped_updates > 0) {
    std::printf(", %llu updates left out for gradients beyond f16",
                static_cast<unsigned long long>(summary->num_skipped_updates));
  }
  std::printf("%s\n", summary->stopped ? " (stopped; the same command goes on)" : "");
  return summary->stopped ? StoppedExitStatus() : 0;
}

// A flag's "A" or "A:B", each from 0 to `high`.
LinearRange Range(const std::string& flag, const std::string& text, double high) {
  const absl::StatusOr<LinearRange> range = ParseLinearRange(text, 0.0, high);
  if (!range.ok()) throw CLI::ValidationError(flag, std::string(range.status().message()));
  return *range;
}

void AddRecipeFlags(CLI::App& command, PretrainOptions& o) {
  const char* const group = kRecipeGroup;
  command.add_option("--model", o.model, "vit_tiny, vit_small, vit_base, vit_large, vit_huge")
      ->capture_default_str()
      ->group(group);
  command.add_option("--width", o.width, "instead of the model's")->group(group);
  command.add_option("--depth", o.depth, "instead of the model's")->group(group);
  command.add_option("--heads", o.heads, "instead of the model's")->group(group);
  command
      .add_option_function<std::string>(
          "--mask-ratio",
          [&o](const std::string& text) { o.input.mask_ratio = Range("--mask-ratio", text, 0.999); },
          "share of the patches that the student does not see (0.7); A:B goes from A to B over the epochs")
      ->group(group);
  AddMaskFlags(command, o.input, group);
  command
      .add_option_function<std::string>(
          "--min-area", [&o](const std::string& text) { o.input.min_area = Range("--min-area", text, 1.0); },
          "with --teacher and without --like: least share of the picture in a crop (0.2); with --fresh also "
          "A:B, from A "
          "to B over the epochs")
      ->group(group);
  command.add_option("--fusion", o.fusion, "linear, sum, simple")->capture_default_str()->group(group);
  command.add_option("--head", o.head, "linear, norm_linear, mlp, mlp2")->capture_default_str()->group(group);
  command.add_option("--target-norm", o.target_norm, "whiten, none, l2")->capture_default_str()->group(group);
  command.add_option("--loss", o.loss_type, "smoothl1, l1, l2")->capture_default_str()->group(group);
  command
      .add_option("--loss-weights", o.loss_weights,
                  "topK, mean, out, linear_decay, midK; with several teachers also one each: top5,top3")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--teacher-weights", o.teacher_weights,
                  "of the losses of several teachers, e.g. 1,0.5 (their mean)")
      ->group(group);
  command.add_option("--batch-size", o.batch_size, "samples of an update")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--accumulate", o.accumulate,
                  "parts in which a batch goes through the student: less memory, the same update")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group(group);
  command.add_option("--epochs", o.epochs)->capture_default_str()->check(CLI::PositiveNumber)->group(group);
  CLI::Option* blr =
      command.add_option("--blr", o.blr, "learning rate for 256 samples: lr = blr * batch / 256")
          ->capture_default_str()
          ->group(group);
  command.add_option("--lr", o.lr, "learning rate as it is")
      ->check(CLI::PositiveNumber)
      ->excludes(blr)
      ->group(group);
  command.add_option("--min-lr", o.min_lr)->capture_default_str()->group(group);
  command.add_option("--warmup-epochs", o.warmup_epochs, "a tenth of the epochs")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command.add_option("--weight-decay", o.weight_decay)->capture_default_str()->group(group);
  command.add_option("--beta1", o.beta1)->capture_default_str()->group(group);
  command.add_option("--beta2", o.beta2)->capture_default_str()->group(group);
  command.add_option("--drop-path", o.drop_path)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.99))
      ->group(group);
  command.add_option("--clip-grad", o.clip_grad, "largest norm of all gradients together; 0 = no clipping")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->group(group);
  command
      .add_option("--ema", o.ema,
                  "decay of a moving average of the weights, e.g. 0.9999, for `export --ema`; 0 = none")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.999999))
      ->group(group);
  command.add_option("--precision", o.precision, "of matrix products: f32, bf16 or f16")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->group(group);
  command.add_option("--seed", o.seed, "of start values, order and drop path")
      ->capture_default_str()
      ->group(group);
}

// What follows from the flags and has none of its own value, as comments.
std::string DerivedValues(const PretrainOptions& options) {
  return absl::StrFormat("# peak learning rate %s, warm-up %s epochs\n", DecimalText(LearningRate(options)),
                         DecimalText(WarmupEpochs(options)));
}

}  // namespace

void AddPretrainCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "pretrain",
      "Trains a student on cached teacher features (MaskAlign); the defaults are maskalign-vit-b16.");
  auto options = std::make_shared<PretrainOptions>();
  PretrainOptions& o = *options;
  auto rank_arguments = std::make_shared<RankArguments>();
  command->add_option("--out", o.out,
                      "folder of the run: checkpoints, metrics.jsonl, config.json, summary.json");
  AddFeatureFlags(*command, o);
  AddRecipeFlags(*command, o);
  command->add_option("--steps", o.steps, "end at this step; the schedule stays that of --epochs")
      ->check(CLI::PositiveNumber);
  command->add_option("--device", o.device, "cpu, cuda, cuda:1")->capture_default_str();
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  AddIntervalFlag(*command, "--checkpoint-every", o.checkpoint_every, "steps, or as 2epochs (1epoch)");
  command->add_option("--keep", o.keep, "how many of the last checkpoints stay")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  AddIntervalFlag(*command, "--keep-every", o.keep_every,
                  "which checkpoints are kept for good in OUT/kept: steps, or as 10epochs");
  AddIntervalFlag(*command, "--image-every", o.image_every,
                  "pictures for TensorBoard: steps, or as 2epochs; 0 = none (1epoch)");
  command->add_flag("--resume,!--no-resume", o.resume, "go on from a checkpoint in --out (on)");
  command->add_option(
      "--trace", o.trace,
      "write a trace of the first steps to this file, for ui.perfetto.dev; with several ranks one "
      "file each");
  command->add_option("--trace-steps", o.trace_steps, "how many steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  AddRankFlags(*command, *rank_arguments);
  command
      ->add_option_function<double>(
          "--bucket-mb",
          [&o](double megabytes) { o.bucket_bytes = static_cast<int64_t>(megabytes * (1 << 20)); },
          "gradients that ranks sum at once, in MiB (a sixteenth of all, at most 25)")
      ->check(CLI::Range(0.001, 1024.0))
      ->group(kRanksGroup);
  const auto run = [options, rank_arguments] {
    options->input.order_seed = options->seed;
    options->input.loss_weights = options->loss_weights;
    options->input.teacher.num_threads = options->num_threads;
    InstallStopSignalHandlers();
    return Run(*options, *rank_arguments);
  };
  AddRecipeCommand(
      *command, chosen, o.recipe,
      {.required = {"--out"}, .derived = [options] { return DerivedValues(*options); }, .run = run});
}

}  // namespace afterimage::trainer
