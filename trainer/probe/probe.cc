#include "trainer/probe/probe.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/vit/torch_status.h"
#include "trainer/classify/labelled_data.h"
#include "trainer/model/classifier.h"
#include "trainer/optim/lars.h"
#include "trainer/probe/linear_probe.h"

namespace afterimage::trainer {
namespace {

absl::Status CheckOptions(const ProbeOptions& options) {
  if (options.optimizer != "lars" && options.optimizer != "sgd") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown optimiser \"", options.optimizer, "\": lars and sgd are known"));
  }
  if (options.features_dtype != "f32" && options.features_dtype != "f16") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown type of features \"", options.features_dtype, "\": f32 and f16 are known"));
  }
  if (!(options.momentum >= 0 && options.momentum < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--momentum ", options.momentum, " is not in [0, 1)"));
  }
  return CheckLabelledOptions(options.run);
}

struct FeatureTable {
  at::Tensor rows;    // [N, D]
  at::Tensor labels;  // int64 [N]
};

// The features of all pictures of `source`, in views of evaluation.
absl::StatusOr<FeatureTable> ComputeFeatures(const LinearProbe& probe, const ImageSource& source,
                                             uint32_t size, const PixelScaling& scaling,
                                             const ProbeOptions& options) {
  Progress progress({.label = "features", .unit = "images", .total = source.size()});
  const at::ScalarType type = options.features_dtype == "f16" ? at::kHalf : at::kFloat;
  FeatureTable table;
  table.labels = at::empty({static_cast<int64_t>(source.size())}, at::kLong);
  int64_t done = 0;
  AFTERIMAGE_RETURN_IF_ERROR(ForEachEvaluationBatch(
      source, size, options.run.view_threads, [&](const LabelledViewLoader::Batch& batch) -> absl::Status {
        AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] {
          c10::NoGradGuard no_grad;
          const auto count = static_cast<int64_t>(batch.size);
          const at::Tensor pixels =
              at::from_blob(const_cast<uint8_t*>(batch.pixels.data()), {count, size, size, 3}, at::kByte);
          const at::Tensor features = probe.Features(
              NormalizePixels(pixels.to(scaling.mean.device()), scaling.mean, scaling.deviation));
          if (!table.rows.defined()) {
            table.rows = at::empty({static_cast<int64_t>(source.size()), features.size(1)},
                                   features.options().dtype(type));
          }
          table.rows.narrow(0, done, count).copy_(features);
          std::copy(batch.labels.begin(), batch.labels.end(), table.labels.data_ptr<int64_t>() + done);
          done += count;
        }));
        progress.Update(static_cast<uint64_t>(done));
        return StopRequested() ? absl::CancelledError("stopped while features were computed; nothing is kept")
                               : absl::OkStatus();
      }));
  progress.Finish();
  return table;
}

// The input and the evaluation of the task.
absl::Status UseFeatures(const ProbeOptions& options, const LabelledData& data, const VitWeights& backbone,
                         const LinearProbe& probe, LabelledTask& task) {
  const auto size = static_cast<uint32_t>(backbone.config.image_size);
  AFTERIMAGE_ASSIGN_OR_RETURN(const PixelScaling scaling, ScalingOf(backbone.pixels, data.device()));
  if (options.random_crops) {
    AFTERIMAGE_RETURN_IF_ERROR(data.UseViews(options.run, backbone, {}, task));
  } else {
    data.Describe(task);
    AFTERIMAGE_ASSIGN_OR_RETURN(FeatureTable table,
                                ComputeFeatures(probe, data.train(), size, scaling, options));
    task.input =
        MakeTableInput(&data.train(), table.rows, table.labels, options.run.batch_size, options.run.seed);
  }
  if (data.test() == nullptr) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(FeatureTable table,
                              ComputeFeatures(probe, *data.test(), size, scaling, options));
  task.evaluate =
      EvaluationOfTable(table.rows, table.labels, static_cast<int64_t>(data.class_names().size()));
  return absl::OkStatus();
}

}  // namespace

LabelledOptions ProbeOptions::Defaults() {
  LabelledOptions run;
  run.batch_size = 1024;
  run.epochs = 90;
  run.blr = 0.1;
  run.min_lr = 0;
  run.warmup_epochs = 10;
  run.weight_decay = 0;
  return run;
}

absl::StatusOr<LabelledSummary> Probe(const ProbeOptions& options) {
  const LabelledOptions& run = options.run;
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Pool pool, ParsePool(options.pool));
  PrepareTorch(run.num_threads);
  AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledData data, LabelledData::Open(run));
  AFTERIMAGE_ASSIGN_OR_RETURN(StartNetwork start, LoadStartNetwork(options.start));
  VitWeights& weights = start.weights;
  weights.class_names = data.class_names();
  auto model = std::make_unique<LinearProbe>(weights, pool, static_cast<int64_t>(data.class_names().size()),
                                             run.seed, data.device());
  LabelledTask task;
  task.command = "probe";
  task.config = LabelledConfig(run);
  task.config.update(Json{{"weights", start.digest},
                          {"image_size", weights.config.image_size},
                          {"pool", PoolName(pool)},
                          {"optimizer", options.optimizer},
                          {"momentum", DecimalText(options.momentum)},
                          {"random_crops", options.random_crops},
                          {"features_dtype", options.features_dtype}});
  task.about["weights"] = start.source;
  AFTERIMAGE_RETURN_IF_ERROR(UseFeatures(options, data, weights, *model, task));
  Lars::Options optimizer = {.momentum = options.momentum, .weight_decay = run.weight_decay};
  if (options.optimizer == "sgd") optimizer.trust_coefficient = 0;
  task.optimizer = std::make_unique<Lars>(model->parameters(), optimizer);
  task.model = std::move(model);
  return RunLabelled(run, std::move(task));
}

}  // namespace afterimage::trainer
