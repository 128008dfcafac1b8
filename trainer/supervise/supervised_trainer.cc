#include "trainer/supervise/supervised_trainer.h"

#include <memory>
#include <utility>

#include "core/base/status_macros.h"
#include "trainer/classify/labelled_data.h"
#include "trainer/classify/vit_classifier.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/model/classifier.h"
#include "trainer/model/vit_init.h"
#include "trainer/optim/adamw.h"

namespace afterimage::trainer {

namespace {

absl::StatusOr<LabelledSummary> Run(const SupervisedOptions& options, Communicator& ranks) {
  const LabelledOptions& run = options.run;
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelledOptions(run));
  PrepareTorch(run.num_threads);
  VitWeights weights;
  VitConfig& config = weights.config;
  config.image_size = options.image_size;
  config.patch_size = options.patch_size;
  config.width = options.width;
  config.depth = options.depth;
  config.heads = options.heads;
  config.mlp_width = 4 * options.width;
  AFTERIMAGE_RETURN_IF_ERROR(config.Validate());
  weights.pixels = {options.mean, options.deviation};
  AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledData data, LabelledData::Open(run));
  weights.class_names = data.class_names();
  weights.parameters = NewVit(config, run.seed);
  AddHead(weights.parameters, static_cast<int64_t>(weights.class_names.size()), run.seed);

  LabelledTask task;
  task.command = "supervise";
  task.config = LabelledConfig(run);
  task.config.update(Json{{"image_size", config.image_size},
                          {"patch_size", config.patch_size},
                          {"width", config.width},
                          {"depth", config.depth},
                          {"heads", config.heads},
                          {"mean", options.mean},
                          {"std", options.deviation},
                          {"drop_path", DecimalText(options.drop_path)}});
  AFTERIMAGE_RETURN_IF_ERROR(data.UseViews(run, weights, {ranks.rank(), ranks.num_ranks()}, task));
  auto model =
      std::make_unique<VitClassifier>(std::move(weights), options.drop_path, run.seed, data.device());
  task.optimizer = std::make_unique<AdamW>(model->parameters(),
                                           AdamW::Options{.beta2 = 0.999, .weight_decay = run.weight_decay});
  task.model = std::move(model);
  return RunLabelled(run, std::move(task), ranks);
}

}  // namespace

LabelledOptions SupervisedOptions::Defaults() {
  LabelledOptions run;
  run.batch_size = 256;
  run.epochs = 20;
  run.lr = 1e-3;
  run.min_lr = 1e-5;
  run.warmup_epochs = 2;
  run.min_area = {1, 3};
  run.label_smoothing = 0.1;
  return run;
}

absl::StatusOr<LabelledSummary> TrainSupervised(const SupervisedOptions& options, Communicator& ranks) {
  return LeaveWith(ranks, Run(options, ranks));
}

absl::StatusOr<LabelledSummary> TrainSupervised(const SupervisedOptions& options) {
  SelfCommunicator alone;
  return TrainSupervised(options, alone);
}

}  // namespace afterimage::trainer
