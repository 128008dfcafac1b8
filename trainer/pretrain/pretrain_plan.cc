#include "trainer/pretrain/pretrain_plan.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
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

// What is said once for all teachers, or for each of them, comma-separated.
absl::StatusOr<std::vector<std::string>> OneForEach(const std::string& flag, const std::string& text,
                                                    size_t teachers) {
  std::vector<std::string> values = absl::StrSplit(text, ',');
  if (values.size() == 1) values.resize(teachers, values.front());
  if (values.size() == teachers) return values;
  return absl::InvalidArgumentError(absl::StrCat(flag, " ", text, " has ", values.size(), " entries for ",
                                                 teachers, " teachers: give one, or one each"));
}

// How much each teacher's loss counts: their mean unless said.
absl::StatusOr<std::vector<double>> TeacherWeights(const PretrainOptions& options, size_t teachers) {
  if (options.teacher_weights.empty())
    return std::vector<double>(teachers, 1.0 / static_cast<double>(teachers));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> texts,
                              OneForEach("--teacher-weights", options.teacher_weights, teachers));
  std::vector<double> weights;
  for (const std::string& text : texts) {
    double weight = 0;
    if (!absl::SimpleAtod(text, &weight) || !(weight > 0) || !std::isfinite(weight)) {
      return absl::InvalidArgumentError(absl::StrCat("--teacher-weights ", options.teacher_weights, ": ",
                                                     text, " is not a number above 0"));
    }
    weights.push_back(weight);
  }
  return weights;
}

// Which levels of one teacher count, and how the student's blocks become them.
absl::Status PlanAlignment(PretrainPlan& plan, const SetDescription& description,
                           const std::string& loss_weights, double teacher_weight) {
  const PretrainOptions& options = plan.options;
  const TeacherGeometry& geometry = description.feature.geometry;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<double> all_weights,
                              LevelWeights(loss_weights, geometry.num_levels));
  AlignmentConfig alignment;
  alignment.prefix = AlignmentPrefix(plan.alignments.size());
  AFTERIMAGE_ASSIGN_OR_RETURN(alignment.fusion, ParseFusion(options.fusion));
  AFTERIMAGE_ASSIGN_OR_RETURN(alignment.head, ParseHead(options.head));
  for (uint32_t level = 1; level <= geometry.num_levels; ++level) {
    if (all_weights[level - 1] == 0) continue;
    if (!std::ranges::binary_search(description.set.levels, level)) {
      return absl::InvalidArgumentError(absl::StrCat("--loss-weights ", loss_weights, " needs teacher level ",
                                                     level, ", which the set does not hold"));
    }
    alignment.levels.push_back(level);
    plan.level_weights.push_back(all_weights[level - 1] * teacher_weight);
  }
  const double sum = std::accumulate(all_weights.begin(), all_weights.end(), 0.0);
  if (std::abs(sum - 1.0) > 1e-6) {
    plan.notes.push_back(absl::StrFormat(
        "--loss-weights %s over the teacher's %d levels sum to %.3g, as the reference has it: "
        "the loss is that much smaller",
        loss_weights, geometry.num_levels, sum));
  }
  alignment.num_teacher_levels = geometry.num_levels;
  alignment.teacher_width = geometry.width;
  alignment.student_depth = plan.vit.depth;
  alignment.student_width = plan.vit.width;
  AFTERIMAGE_RETURN_IF_ERROR(alignment.Validate());
  plan.alignments.push_back(std::move(alignment));
  return absl::OkStatus();
}

absl::Status PlanAlignments(PretrainPlan& plan) {
  std::vector<const SetDescription*> sets = {&plan.input->description()};
  for (const SetDescription& further : plan.input->further_descriptions()) sets.push_back(&further);
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<double> teacher_weights,
                              TeacherWeights(plan.options, sets.size()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> loss_weights,
                              OneForEach("--loss-weights", plan.options.loss_weights, sets.size()));
  for (size_t i = 0; i < sets.size(); ++i) {
    const absl::Status status = PlanAlignment(plan, *sets[i], loss_weights[i], teacher_weights[i]);
    if (!status.ok()) return sets.size() == 1 ? status : WithContext(status, absl::StrCat("teacher ", i + 1));
  }
  return absl::OkStatus();
}

}  // namespace

void PretrainPlan::AdvanceEpoch(StepToken& token) const {
  ++token.epoch;
  token.next_step = 0;
  token.order = input->OrderOf(token.epoch);
  token.running_digest = token.StartDigest();
}

absl::StatusOr<PretrainPlan> PlanPretraining(const PretrainOptions& options, const RankSlice& slice) {
  if (options.num_threads > 0) at::set_num_threads(options.num_threads);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a debugging aid that costs time
  PretrainPlan plan;
  plan.options = options;
  plan.slice = slice;
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options));
  if (options.batch_size < slice.num_ranks) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", options.batch_size, " is below the ",
                                                   slice.num_ranks,
                                                   " ranks: each needs a sample of every batch"));
  }
  const absl::StatusOr<at::Device> device = ParseDevice(options.device);
  if (!device.ok()) return WithContext(device.status(), "--device");
  plan.device = *device;
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.loss_type, ParseLossType(options.loss_type));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.target_norm, ParseTargetNorm(options.target_norm));
  AFTERIMAGE_ASSIGN_OR_RETURN(plan.precision, ParsePrecision(options.precision));
  FeatureInputOptions input_options = options.input;
  input_options.epochs = options.epochs;
  input_options.quiet = slice.rank > 0;
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
  AFTERIMAGE_RETURN_IF_ERROR(PlanAlignments(plan));
  plan.schedule = {.lr = LearningRate(options),
                   .min_lr = options.min_lr,
                   .warmup = WarmupEpochs(options),
                   .total = static_cast<double>(options.epochs)};
  plan.config = RunConfig(options, plan.vit, plan.alignments.size());
  plan.start = {.feature_id = description.set.feature_id,
                .set_id = description.set.Id(),
                .order = order,
                .global_batch = options.batch_size};
  for (const SetDescription& further : plan.input->further_descriptions())
    plan.start.further_set_ids.push_back(further.set.Id());
  plan.start.running_digest = plan.start.StartDigest();
  return plan;
}

Json SharedByRanks(const PretrainPlan& plan) {
  return {{"config", plan.config},
          {"feature_id", plan.start.feature_id.Hex()},
          {"set_id", plan.start.set_id.Hex()},
          {"order", plan.start.order.ToCanonical()},
          {"steps", plan.last_step},
          {"wire_encoding", EncodingName(plan.options.input.wire_encoding)},
          {"miss", MissPolicyName(plan.options.miss)},
          {"bucket_bytes", plan.options.bucket_bytes},
          {"device", plan.device.is_cuda() ? "cuda" : "cpu"}};
}

BatchFeed::Options FeedFrom(const PretrainPlan& plan, const StepToken& token) {
  const SetDescription& description = plan.input->description();
  BatchFeed::Options feed;
  feed.profile = plan.input->profile();
  feed.request.set_id = token.set_id;
  feed.request.order = token.order;
  feed.request.epoch = token.epoch;
  feed.request.step_begin = token.next_step;
  feed.request.global_batch = token.global_batch;
  feed.request.slice = plan.slice;
  feed.request.credit_bytes = plan.options.credit_bytes;
  feed.request.selection.levels = plan.alignments.front().levels;
  feed.request.selection.tokens = Selection::Tokens::kMask;
  feed.request.selection.pixels = description.set.pixels;
  feed.request.selection.encoding = plan.options.input.wire_encoding;
  feed.num_steps = plan.last_step - std::min(plan.last_step, plan.StepOf(token));
  const SlotRange slots = SlotsOfRank(plan.slice, token.global_batch);
  feed.shape = {.batch = static_cast<int64_t>(slots.end - slots.begin),
                .num_visible = plan.input->most_visible(),
                .patch_size = plan.vit.patch_size,
                .with_statistics = plan.target_norm != TargetNorm::kWhiten,
                .pinned = plan.device.is_cuda()};
  if (plan.device.is_cuda()) feed.decode_on = plan.device;
  for (const AlignmentConfig& alignment : plan.alignments)
    feed.shape.teachers.push_back({alignment.teacher_width, alignment.levels});
  for (size_t i = 1; i < plan.alignments.size(); ++i) {
    const SetDescription& further = plan.input->further_descriptions()[i - 1];
    feed.further_sets.push_back(
        {.set_id = further.set.Id(),
         .levels = plan.alignments[i].levels,
         .draws_same_mask = plan.input->DrawsSameMask(further),
         .num_masks = further.set.token_policy == TokenPolicy::kVisible ? further.set.mask.num_masks : 0,
         .profile = plan.input->further_profile(i - 1)});
  }
  if (plan.input->order_varies())
    feed.order_of_epoch = [input = plan.input.get()](uint64_t epoch) { return input->OrderOf(epoch); };
  feed.miss = plan.options.miss;
  feed.give_up_after = plan.options.input.server_timeout.value_or(absl::InfiniteDuration());
  feed.set_progress = [input = plan.input.get()] { return input->SetProgress(); };
  feed.pixels = plan.input->pixels();
  return feed;
}

}  // namespace afterimage::trainer
