#include "trainer/pretrain/pretrain_plan.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"
#include "core/vit/teacher_batches.h"
#include "trainer/loss/level_weights.h"
#include "trainer/pretrain/run_config.h"

namespace afterimage::trainer {
namespace {

absl::Status CheckOptions(const PretrainOptions& options) {
  const auto refuse = [](auto... parts) { return absl::InvalidArgumentError(absl::StrCat(parts...)); };
  if (options.epochs == 0) return refuse("--epochs is 0");
  if (!(LearningRate(options) > 0)) return refuse("the learning rate is not above 0: give --blr or --lr");
  if (WarmupEpochs(options) >= static_cast<double>(options.epochs)) {
    return refuse("--warmup-epochs ", WarmupEpochs(options), " is not below --epochs ", options.epochs,
                  ": the learning rate would never get to its peak");
  }
  if (options.accumulate == 0 || options.accumulate > options.batch_size) {
    return refuse("--accumulate ", options.accumulate, ": a batch of ", options.batch_size,
                  " goes through the student in 1 to ", options.batch_size, " parts");
  }
  if (!(options.clip_grad >= 0))
    return refuse("--clip-grad ", options.clip_grad, " is negative; 0 = no clipping");
  if (!(options.ema >= 0 && options.ema < 1))
    return refuse("--ema ", options.ema, ": a decay is in [0, 1); 0 = no average is kept");
  if (!(options.drop_path >= 0 && options.drop_path < 1))
    return refuse("--drop-path ", options.drop_path, ": a rate is in [0, 1)");
  if (!(options.weight_decay >= 0)) return refuse("--weight-decay ", options.weight_decay, " is negative");
  for (const double beta : {options.beta1, options.beta2}) {
    if (!(beta >= 0 && beta < 1)) return refuse("--beta1 and --beta2 are in [0, 1), not ", beta);
  }
  return absl::OkStatus();
}

// Which teacher levels count, and how the student's blocks become them.
absl::Status PlanAlignment(PretrainPlan& plan) {
  const PretrainOptions& options = plan.options;
  const SetDescription& description = plan.input->description();
  const TeacherGeometry& geometry = description.feature.geometry;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<double> all_weights,
                              LevelWeights(options.loss_weights, geometry.num_levels));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.alignment.fusion, ParseFusion(options.fusion));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.alignment.head, ParseHead(options.head));
  for (uint32_t level = 1; level <= geometry.num_levels; ++level) {
    if (all_weights[level - 1] == 0) continue;
    if (!std::ranges::binary_search(description.set.levels, level)) {
      return absl::InvalidArgumentError(absl::StrCat("--loss-weights ", options.loss_weights,
                                                     " needs teacher level ", level,
                                                     ", which the set does not hold"));
    }
    plan.alignment.levels.push_back(level);
    plan.level_weights.push_back(all_weights[level - 1]);
  }
  const double sum = std::accumulate(plan.level_weights.begin(), plan.level_weights.end(), 0.0);
  if (std::abs(sum - 1.0) > 1e-6) {
    plan.notes.push_back(absl::StrFormat(
        "--loss-weights %s over the teacher's %d levels sum to %.3g, as the reference has it: "
        "the loss is that much smaller",
        options.loss_weights, geometry.num_levels, sum));
  }
  plan.alignment.num_teacher_levels = geometry.num_levels;
  plan.alignment.teacher_width = geometry.width;
  plan.alignment.student_depth = plan.vit.depth;
  plan.alignment.student_width = plan.vit.width;
  return plan.alignment.Validate();
}

}  // namespace

void PretrainPlan::AdvanceEpoch(StepToken& token) const {
  ++token.epoch;
  token.next_step = 0;
  token.order = input->OrderOf(token.epoch);
  token.running_digest = EpochStartDigest(token.set_id, token.order.Id(), token.epoch);
}

absl::StatusOr<PretrainPlan> PlanPretraining(const PretrainOptions& options) {
  if (options.num_threads > 0) at::set_num_threads(options.num_threads);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a debugging aid that costs time
  PretrainPlan plan;
  plan.options = options;
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options));
  const absl::StatusOr<at::Device> device = ParseDevice(options.device);
  if (!device.ok()) return WithContext(device.status(), "--device");
  plan.device = *device;
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.loss_type, ParseLossType(options.loss_type));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.target_norm, ParseTargetNorm(options.target_norm));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.precision, ParsePrecision(options.precision));
  FeatureInputOptions input_options = options.input;
  input_options.epochs = options.epochs;
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.input, FeatureInput::Open(input_options));
  const SetDescription& description = plan.input->description();
  const OrderSpec& order = plan.input->order();
  plan.steps_per_epoch = StepsPerEpoch(order, options.batch_size);
  if (plan.steps_per_epoch == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", options.batch_size, " is above the ",
                                                   order.num_occurrences, " pictures of an epoch"));
  }
  plan.last_step = options.epochs * plan.steps_per_epoch;
  if (options.steps > 0) plan.last_step = std::min(plan.last_step, options.steps);
  AFTERIMAGE_ASSIGN_OR_RETURN(
      plan.vit, StudentConfig(options, description.feature.view.size, description.feature.geometry.grid));
  AFTERIMAGE_RETURN_IF_ERROR(PlanAlignment(plan));
  plan.schedule = {.lr = LearningRate(options),
                   .min_lr = options.min_lr,
                   .warmup = WarmupEpochs(options),
                   .total = static_cast<double>(options.epochs)};
  plan.config = RunConfig(options, plan.vit);
  plan.start = {.feature_id = description.set.feature_id,
                .set_id = description.set.Id(),
                .order = order,
                .global_batch = options.batch_size};
  plan.start.running_digest = EpochStartDigest(plan.start.set_id, plan.start.order.Id(), 0);
  return plan;
}

BatchFeed::Options FeedFrom(const PretrainPlan& plan, const StepToken& token) {
  const SetDescription& description = plan.input->description();
  BatchFeed::Options feed;
  feed.request.set_id = token.set_id;
  feed.request.order = token.order;
  feed.request.epoch = token.epoch;
  feed.request.step_begin = token.next_step;
  feed.request.global_batch = token.global_batch;
  feed.request.credit_bytes = plan.options.credit_bytes;
  feed.request.selection.levels = plan.alignment.levels;
  feed.request.selection.tokens = Selection::Tokens::kMask;
  feed.request.selection.pixels = description.set.pixels;
  feed.num_steps = plan.last_step - std::min(plan.last_step, plan.StepOf(token));
  feed.shape = {.batch = static_cast<int64_t>(token.global_batch),
                .num_visible = plan.input->most_visible(),
                .patch_size = plan.vit.patch_size,
                .width = description.feature.geometry.width,
                .levels = plan.alignment.levels,
                .with_statistics = plan.target_norm != TargetNorm::kWhiten,
                .pinned = plan.device.is_cuda()};
  if (plan.input->order_varies())
    feed.order_of_epoch = [input = plan.input.get()](uint64_t epoch) { return input->OrderOf(epoch); };
  feed.miss = plan.options.miss;
  feed.pixels = plan.input->pixels();
  return feed;
}

}  // namespace afterimage::trainer
