#include "trainer/finetune/finetune.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "trainer/classify/labelled_data.h"
#include "trainer/classify/vit_classifier.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/model/classifier.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/layer_decay.h"

namespace afterimage::trainer {
namespace {

constexpr double kHeadDeviation = 2e-5;  // maskalign.md section 1.9

absl::Status CheckOptions(const FinetuneOptions& options) {
  if (!(options.layer_decay > 0 && options.layer_decay <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--layer-decay ", options.layer_decay, " is not in (0, 1]; 1 = the same rate for all"));
  }
  if (!(options.drop_path >= 0 && options.drop_path < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--drop-path ", options.drop_path, ": a rate is in [0, 1)"));
  }
  return CheckLabelledOptions(options.run);
}

absl::StatusOr<LabelledSummary> Run(const FinetuneOptions& options, Communicator& ranks) {
  const LabelledOptions& run = options.run;
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Pool pool, ParsePool(options.pool));
  PrepareTorch(run.num_threads);
  AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledData data, LabelledData::Open(run));
  AFTERIMAGE_ASSIGN_OR_RETURN(StartNetwork start, LoadStartNetwork(options.start));
  VitWeights& weights = start.weights;
  weights.class_names = data.class_names();
  const auto num_classes = static_cast<int64_t>(weights.class_names.size());
  AddHead(weights.parameters, num_classes, run.seed, kHeadDeviation, pool);

  LabelledTask task;
  task.command = "finetune";
  task.config = LabelledConfig(run);
  task.config.update(Json{{"weights", start.digest},
                          {"image_size", weights.config.image_size},
                          {"pool", PoolName(pool)},
                          {"layer_decay", DecimalText(options.layer_decay)},
                          {"drop_path", DecimalText(options.drop_path)}});
  task.about["weights"] = start.source;
  AFTERIMAGE_RETURN_IF_ERROR(data.UseViews(run, weights, {ranks.rank(), ranks.num_ranks()}, task));
  const int64_t depth = weights.config.depth;
  auto model =
      std::make_unique<VitClassifier>(std::move(weights), options.drop_path, run.seed, data.device());
  const auto group_of = [decay = options.layer_decay, depth](const std::string& name,
                                                             const at::Tensor& tensor) {
    return LayerDecayGroup(name, tensor, decay, depth);
  };
  task.optimizer = std::make_unique<AdamW>(
      model->parameters(),
      AdamW::Options{.beta2 = 0.999, .weight_decay = run.weight_decay, .group_of = group_of});
  task.model = std::move(model);
  return RunLabelled(run, std::move(task), ranks);
}

}  // namespace

LabelledOptions FinetuneOptions::Defaults() {
  LabelledOptions run;
  run.batch_size = 1024;
  run.epochs = 100;
  run.blr = 3e-4;
  run.min_lr = 1e-6;
  run.warmup_epochs = 5;
  run.rand_augment = "rand-m9-mstd0.5-inc1";
  run.random_erasing = 0.25;
  run.mix = {.mixup_alpha = 0.8, .cutmix_alpha = 1.0};
  run.label_smoothing = 0.1;
  return run;
}

absl::StatusOr<LabelledSummary> Finetune(const FinetuneOptions& options, Communicator& ranks) {
  return LeaveWith(ranks, Run(options, ranks));
}

absl::StatusOr<LabelledSummary> Finetune(const FinetuneOptions& options) {
  SelfCommunicator alone;
  return Finetune(options, alone);
}

}  // namespace afterimage::trainer
