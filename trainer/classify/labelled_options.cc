#include "trainer/classify/labelled_options.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {

double LabelledOptions::LearningRate() const {
  return lr > 0 ? lr : blr * static_cast<double>(batch_size) / 256.0;
}

absl::Status CheckLabelledOptions(const LabelledOptions& options) {
  const auto refuse = [](auto... parts) { return absl::InvalidArgumentError(absl::StrCat(parts...)); };
  const bool timed = options.duration > absl::ZeroDuration();
  if (options.epochs == 0) return refuse("--epochs is 0");
  if (options.batch_size == 0) return refuse("--batch-size is 0");
  if (options.evaluate_every == 0) return refuse("--evaluate-every is 0");
  if (!(options.LearningRate() > 0)) return refuse("the learning rate is not above 0: give --blr or --lr");
  if (!timed && options.warmup_epochs >= static_cast<double>(options.epochs)) {
    return refuse("--warmup-epochs ", options.warmup_epochs, " is not below --epochs ", options.epochs,
                  ": the learning rate would never get to its peak");
  }
  if (options.accumulate == 0 || options.accumulate > options.batch_size) {
    return refuse("--accumulate ", options.accumulate, ": a batch of ", options.batch_size,
                  " goes through the network in 1 to ", options.batch_size, " parts");
  }
  const std::pair<const char*, double> not_negative[] = {{"--min-lr", options.min_lr},
                                                         {"--warmup-epochs", options.warmup_epochs},
                                                         {"--weight-decay", options.weight_decay},
                                                         {"--clip-grad", options.clip_grad},
                                                         {"--mixup", options.mix.mixup_alpha},
                                                         {"--cutmix", options.mix.cutmix_alpha}};
  for (const auto& [flag, value] : not_negative) {
    if (!(value >= 0)) return refuse(flag, " ", value, " is negative");
  }
  const std::pair<const char*, double> shares[] = {{"--random-erasing", options.random_erasing},
                                                   {"--mix-prob", options.mix.probability},
                                                   {"--mix-switch-prob", options.mix.switch_probability},
                                                   {"--label-smoothing", options.label_smoothing}};
  for (const auto& [flag, value] : shares) {
    if (!(value >= 0 && value <= 1)) return refuse(flag, " ", value, " is not between 0 and 1");
  }
  if (!(options.ema >= 0 && options.ema < 1))
    return refuse("--ema ", options.ema, ": a decay is in [0, 1); 0 = no average is kept");
  if (options.export_dtype != "f32" && options.export_dtype != "f16")
    return refuse("unknown export type \"", options.export_dtype, "\": f32 and f16 are known");
  const absl::Status precision = ParsePrecision(options.precision).status();
  return precision.ok() ? precision : WithContext(precision, "--precision");
}

Json LabelledConfig(const LabelledOptions& options) {
  const bool timed = options.duration > absl::ZeroDuration();
  return {{"batch_size", options.batch_size},
          {"accumulate", options.accumulate},
          {"epochs", timed ? 0 : options.epochs},
          {"seconds", absl::ToInt64Seconds(options.duration)},
          {"lr", DecimalText(options.LearningRate())},
          {"min_lr", DecimalText(options.min_lr)},
          {"warmup_epochs", DecimalText(options.warmup_epochs)},
          {"weight_decay", DecimalText(options.weight_decay)},
          {"clip_grad", DecimalText(options.clip_grad)},
          {"ema", DecimalText(options.ema)},
          {"precision", options.precision},
          {"seed", options.seed},
          {"min_area", {options.min_area.numerator, options.min_area.denominator}},
          {"flip", options.flip},
          {"rand_augment", options.rand_augment},
          {"random_erasing", DecimalText(options.random_erasing)},
          {"mixup", DecimalText(options.mix.mixup_alpha)},
          {"cutmix", DecimalText(options.mix.cutmix_alpha)},
          {"mix_prob", DecimalText(options.mix.probability)},
          {"mix_switch_prob", DecimalText(options.mix.switch_probability)},
          {"label_smoothing", DecimalText(options.label_smoothing)},
          {"export_dtype", options.export_dtype}};
}

absl::StatusOr<LabelledViewLoader::Options> TrainingViews(const LabelledOptions& options, uint32_t size,
                                                          const RgbPixel& fill) {
  LabelledViewLoader::Options views;
  views.view.size = size;
  views.view.min_area = options.min_area;
  if (!options.flip) views.view.flip_probability = {0, 1};
  if (options.rand_augment != "none") {
    const absl::StatusOr<RandAugment> policy = ParseRandAugment(options.rand_augment);
    if (!policy.ok()) return WithContext(policy.status(), "--rand-augment");
    views.augmentation.rand_augment = *policy;
  }
  views.augmentation.fill = fill;
  views.augmentation.erasing = options.random_erasing;
  views.batch_size = options.batch_size;
  views.seed = options.seed;
  views.num_threads = options.view_threads;
  return views;
}

void PrepareTorch(int num_threads) {
  if (num_threads > 0) at::set_num_threads(num_threads);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a debugging aid that costs time
}

}  // namespace afterimage::trainer
