#include "trainer/pretrain/validation.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/identity/canonical_spec.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/checkpoint_network.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/message_box.h"

namespace afterimage::trainer {
namespace {

constexpr uint64_t kUnseenEpoch = 1'000'000;  // of fresh views: later than any run ends

// What of a run's configuration says what its loss is; the rest does not matter here.
absl::StatusOr<PretrainOptions> OptionsOfRun(const Json& config) {
  PretrainOptions options;
  for (const auto& [key, target] :
       {std::pair{"width", &options.width}, {"depth", &options.depth}, {"heads", &options.heads}}) {
    AFTERIMAGE_ASSIGN_OR_RETURN(*target, IntegerField(config, key));
  }
  for (const auto& [key, target] : {std::pair{"fusion", &options.fusion},
                                    {"head", &options.head},
                                    {"target_norm", &options.target_norm},
                                    {"loss_type", &options.loss_type},
                                    {"loss_weights", &options.loss_weights},
                                    {"precision", &options.precision}}) {
    AFTERIMAGE_ASSIGN_OR_RETURN(*target, TextField(config, key));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t seed, IntegerField(config, "seed"));
  options.seed = static_cast<uint64_t>(seed);
  if (config.contains("teacher_weights")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(options.teacher_weights, TextField(config, "teacher_weights"));
    if (options.teacher_weights == "mean") options.teacher_weights.clear();
  }
  options.epochs = 1;
  options.warmup_epochs = 0;
  return options;
}

// The run's configuration, out of its checkpoint.
absl::StatusOr<Json> ConfigOf(const Checkpoint& checkpoint, const std::string& file) {
  const auto config = checkpoint.values.find("config");
  if (config == checkpoint.values.end() || !checkpoint.values.contains("step_token")) {
    return absl::InvalidArgumentError(absl::StrCat(
        file, " is no checkpoint of `pretrain`: for classifiers there is `afterimage-train evaluate`"));
  }
  Json json = Json::parse(config->second, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::DataLossError(absl::StrCat(file, ": the configuration is no JSON object"));
  return json;
}

absl::Status CheckGeometry(const PretrainPlan& plan, const Json& config) {
  for (const auto& [key, what, now] : {std::tuple{"image_size", "views of side", plan.vit.image_size},
                                       {"patch_size", "patches of side", plan.vit.patch_size}}) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t before, IntegerField(config, key));
    if (before == now) continue;
    return absl::InvalidArgumentError(absl::StrCat("the student was trained on ", what, " ", before,
                                                   ", these features are of ", what, " ", now,
                                                   ": give a set, or a teacher, of the student's"));
  }
  return absl::OkStatus();
}

absl::Status TakeWeights(Checkpoint checkpoint, const std::string& file, bool average,
                         TrainStep& train_step) {
  if (average) {
    if (checkpoint.average.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat(file, " holds no average of the weights: it was trained without --ema"));
    }
    for (const auto& [name, tensor] : checkpoint.average) checkpoint.weights[name] = tensor;
  }
  return WithContext(train_step.LoadWeights(checkpoint.weights), file);
}

}  // namespace

absl::StatusOr<Validation> Validate(const ValidationOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string file, CheckpointFile(options.checkpoint));
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadCheckpoint(file));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json config, ConfigOf(checkpoint, file));
  absl::StatusOr<PretrainOptions> run = OptionsOfRun(config);
  if (!run.ok()) return WithContext(run.status(), file);
  run->input = options.input;
  run->input.order_seed = run->seed;
  run->input.loss_weights = run->loss_weights;
  run->batch_size = options.batch_size;
  run->device = options.device;
  run->num_threads = options.num_threads;
  run->miss = options.miss;
  run->credit_bytes = options.credit_bytes;
  AFTERIMAGE_ASSIGN_OR_RETURN(const PretrainPlan plan, PlanPretraining(*run));
  AFTERIMAGE_RETURN_IF_ERROR(CheckGeometry(plan, config));
  SelfCommunicator alone;
  StepTrace no_trace({});
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto train_step, TrainStep::Create(plan, &alone, &no_trace));
  Validation result{.step = checkpoint.step, .features = plan.input->summary()};
  AFTERIMAGE_RETURN_IF_ERROR(TakeWeights(std::move(checkpoint), file, options.average, *train_step));

  result.epoch = options.epoch.value_or(options.input.fresh ? kUnseenEpoch : 0);
  StepToken token = plan.start;
  token.epoch = result.epoch;
  token.order = plan.input->OrderOf(0);
  BatchFeed::Options feed_options = FeedFrom(plan, token);
  feed_options.num_steps = plan.steps_per_epoch;
  if (options.steps > 0) feed_options.num_steps = std::min(feed_options.num_steps, options.steps);
  feed_options.order_of_epoch = nullptr;
  const uint64_t num_steps = feed_options.num_steps;
  MessageBox messages;
  feed_options.message = [&messages](const std::string& text) { messages.Put(text); };
  BatchFeed feed(plan.input->source(), std::move(feed_options));
  Progress progress({.label = "validate", .unit = "images", .total = num_steps * options.batch_size});
  double sum = 0;
  for (uint64_t step = 0; step < num_steps; ++step) {
    AFTERIMAGE_ASSIGN_OR_RETURN(TrainingBatch* const batch, feed.Next([&] {
      messages.Print(progress);
      return StopRequested();
    }));
    if (batch == nullptr || StopRequested())
      return absl::CancelledError("stopped before the end of the epoch");
    if (batch->size > 0) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const float loss, train_step->LossOf(*batch));
      sum += static_cast<double>(loss) * static_cast<double>(batch->size);
    }
    result.num_samples += static_cast<uint64_t>(batch->size);
    result.num_left_out += batch->num_failed + batch->num_skipped;
    feed.Release(batch);
    const double so_far = result.num_samples > 0 ? sum / static_cast<double>(result.num_samples) : 0.0;
    progress.Update((step + 1) * options.batch_size, absl::StrFormat("loss %.4f", so_far));
  }
  progress.Finish();
  if (result.num_samples == 0)
    return absl::FailedPreconditionError(
        "not one sample of the epoch has features: there is no loss to tell");
  result.loss = sum / static_cast<double>(result.num_samples);
  return result;
}

}  // namespace afterimage::trainer
