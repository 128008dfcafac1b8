#include "trainer/pretrain/pretrainer.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/order/step_token.h"
#include "core/vit/torch_status.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/loss/level_weights.h"
#include "trainer/model/drop_path.h"
#include "trainer/model/student.h"
#include "trainer/model/vit_init.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"
#include "trainer/pretrain/metrics_log.h"
#include "trainer/pretrain/run_config.h"

namespace afterimage::trainer {
namespace {

// Texts from the feed's thread, printed by the loop's: Progress belongs to one thread.
class MessageBox {
 public:
  void Put(const std::string& text) {
    std::lock_guard lock(mutex_);
    texts_.push_back(text);
  }
  void Print(Progress& progress) {
    std::lock_guard lock(mutex_);
    for (const std::string& text : texts_) progress.Message(text);
    texts_.clear();
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

absl::StatusOr<at::Device> ParseDevice(const std::string& text) {
  auto device = RunTorch([&] { return at::Device(text); });
  if (!device.ok())
    return absl::InvalidArgumentError(absl::StrCat("--device ", text, ": ", device.status().message()));
  if (!device->is_cpu() && !(device->is_cuda() && at::hasCUDA())) {
    return absl::UnavailableError(
        absl::StrCat("--device ", text, ": this build or machine has no such device"));
  }
  return device;
}

class Pretrainer {
 public:
  explicit Pretrainer(const PretrainOptions& options) : options_(options) {}
  absl::Status Prepare();
  absl::StatusOr<PretrainSummary> Run();

 private:
  absl::Status BuildStudent();
  absl::Status Resume();
  absl::Status Save(uint64_t step, PretrainSummary& summary);
  std::unique_ptr<BatchFeed> StartFeed(MessageBox& messages);
  // The loss of a batch, with its graph.
  at::Tensor Loss(const TrainingBatch& batch, uint64_t step) const;
  absl::Status WriteSummary(const PretrainSummary& summary) const;

  const PretrainOptions options_;
  Json config_;
  std::unique_ptr<FeatureInput> input_;
  at::Device device_{at::kCPU};
  LossType loss_type_ = LossType::kSmoothL1;
  TargetNorm target_norm_ = TargetNorm::kWhiten;
  std::vector<double> level_weights_;  // of alignment().levels
  std::unique_ptr<Student> student_;
  std::unique_ptr<AdamW> optimizer_;
  WarmupCosine schedule_;
  uint64_t steps_per_epoch_ = 0;
  uint64_t last_step_ = 0;  // exclusive
  StepToken token_;         // where we are
};

absl::Status Pretrainer::Prepare() {
  if (options_.num_threads > 0) at::set_num_threads(options_.num_threads);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);  // a debugging aid that costs time
  AFTERIMAGE_ASSIGN_OR_RETURN(device_, ParseDevice(options_.device));
  AFTERIMAGE_ASSIGN_OR_RETURN(loss_type_, ParseLossType(options_.loss_type));
  AFTERIMAGE_ASSIGN_OR_RETURN(target_norm_, ParseTargetNorm(options_.target_norm));
  AFTERIMAGE_ASSIGN_OR_RETURN(input_, FeatureInput::Open(options_.input));
  steps_per_epoch_ = StepsPerEpoch(input_->order(), options_.batch_size);
  if (steps_per_epoch_ == 0) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", options_.batch_size, " is above the ",
                                                   input_->order().num_occurrences, " pictures of an epoch"));
  }
  last_step_ = options_.epochs * steps_per_epoch_;
  if (options_.steps > 0) last_step_ = std::min(last_step_, options_.steps);
  AFTERIMAGE_RETURN_IF_ERROR(BuildStudent());

  schedule_ = {.lr = LearningRate(options_),
               .min_lr = options_.min_lr,
               .warmup = WarmupEpochs(options_),
               .total = static_cast<double>(options_.epochs)};
  config_ = RunConfig(options_, student_->vit());
  token_ = {.feature_id = input_->description().set.feature_id,
            .set_id = input_->description().set.Id(),
            .order = input_->order(),
            .global_batch = options_.batch_size};
  token_.running_digest = EpochStartDigest(token_.set_id, token_.order.Id(), 0);
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options_.out));
  return options_.resume ? Resume() : absl::OkStatus();
}

absl::Status Pretrainer::BuildStudent() {
  const SetDescription& description = input_->description();
  const TeacherGeometry& geometry = description.feature.geometry;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<double> all_weights,
                              LevelWeights(options_.loss_weights, geometry.num_levels));
  AFTERIMAGE_ASSIGN_OR_RETURN(const VitConfig vit,
                              StudentConfig(options_, description.feature.view.size, geometry.grid));
  AlignmentConfig alignment;
  AFTERIMAGE_ASSIGN_OR_RETURN(alignment.fusion, ParseFusion(options_.fusion));
  AFTERIMAGE_ASSIGN_OR_RETURN(alignment.head, ParseHead(options_.head));
  for (uint32_t level = 1; level <= geometry.num_levels; ++level) {
    if (all_weights[level - 1] == 0) continue;
    if (!std::ranges::binary_search(description.set.levels, level)) {
      return absl::InvalidArgumentError(absl::StrCat("--loss-weights ", options_.loss_weights,
                                                     " needs teacher level ", level,
                                                     ", which the set does not hold"));
    }
    alignment.levels.push_back(level);
    level_weights_.push_back(all_weights[level - 1]);
  }
  alignment.num_teacher_levels = geometry.num_levels;
  alignment.teacher_width = geometry.width;
  alignment.student_depth = vit.depth;
  alignment.student_width = vit.width;
  AFTERIMAGE_ASSIGN_OR_RETURN(Student student, Student::Create(vit, alignment, options_.seed));
  student_ = std::make_unique<Student>(std::move(student));
  student_->MoveTo(device_);
  optimizer_ =
      std::make_unique<AdamW>(student_->parameters(), AdamW::Options{.beta1 = options_.beta1,
                                                                     .beta2 = options_.beta2,
                                                                     .weight_decay = options_.weight_decay});
  return absl::OkStatus();
}

absl::Status Pretrainer::Resume() {
  const std::optional<std::string> path = LatestCheckpoint(options_.out);
  if (!path.has_value()) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadCheckpoint(*path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameConfig(checkpoint.values["config"], config_), *path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const StepToken token, StepToken::Parse(checkpoint.values["step_token"]));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckSameData(token, token_), *path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CopyParameters(checkpoint.weights, student_->parameters()), *path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(optimizer_->LoadState(checkpoint.optimizer), *path));
  token_ = token;
  std::fprintf(stderr, "going on from %s\n", path->c_str());
  const std::string threads = absl::StrCat(at::get_num_threads());
  if (checkpoint.values["threads"] != threads) {
    std::fprintf(
        stderr,
        "warning: it was written with %s threads, this run has %s: losses will differ in the last bits\n",
        checkpoint.values["threads"].c_str(), threads.c_str());
  }
  return absl::OkStatus();
}

absl::Status Pretrainer::Save(uint64_t step, PretrainSummary& summary) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.weights = student_->parameters();
  checkpoint.optimizer = optimizer_->State();
  checkpoint.values = {{"config", config_.dump()},
                       {"step_token", token_.Serialize()},
                       {"threads", absl::StrCat(at::get_num_threads())}};
  summary.checkpoint = absl::StrCat(options_.out, "/checkpoint-", step, ".safetensors");
  return WriteCheckpoint(options_.out, checkpoint);
}

std::unique_ptr<BatchFeed> Pretrainer::StartFeed(MessageBox& messages) {
  const SetDescription& description = input_->description();
  BatchFeed::Options feed;
  feed.request.set_id = token_.set_id;
  feed.request.order = token_.order;
  feed.request.epoch = token_.epoch;
  feed.request.step_begin = token_.next_step;
  feed.request.global_batch = options_.batch_size;
  feed.request.credit_bytes = options_.credit_bytes;
  feed.request.selection.levels = student_->alignment().levels;
  feed.request.selection.tokens = Selection::Tokens::kMask;
  feed.request.selection.pixels = description.set.pixels;
  feed.num_steps = last_step_ - std::min(last_step_, token_.epoch * steps_per_epoch_ + token_.next_step);
  feed.shape = {.batch = static_cast<int64_t>(options_.batch_size),
                .num_visible = token_.order.mask.num_visible,
                .patch_size = student_->vit().patch_size,
                .width = description.feature.geometry.width,
                .levels = student_->alignment().levels,
                .with_statistics = target_norm_ != TargetNorm::kWhiten,
                .pinned = device_.is_cuda()};
  feed.miss = options_.miss;
  feed.pixels = input_->pixels();
  feed.message = [&messages](const std::string& text) { messages.Put(text); };
  return std::make_unique<BatchFeed>(input_->source(), std::move(feed));
}

at::Tensor Pretrainer::Loss(const TrainingBatch& batch, uint64_t step) const {
  const auto rows = [&](const at::Tensor& tensor) { return tensor.narrow(0, 0, batch.size).to(device_); };
  std::vector<at::Tensor> targets;
  for (size_t i = 0; i < batch.targets.size(); ++i) {
    targets.push_back(target_norm_ == TargetNorm::kWhiten
                          ? rows(batch.targets[i])
                          : NormalizeTargets(target_norm_, rows(batch.targets[i]), rows(batch.mean[i]),
                                             rows(batch.inverse_deviation[i])));
  }
  at::Tensor drop_path =
      DropPathFactors(options_.drop_path, student_->vit().depth, batch.size, options_.seed, step);
  if (drop_path.defined()) drop_path = drop_path.to(device_);
  const std::vector<at::Tensor> aligned =
      student_->Predict(rows(batch.pixels), rows(batch.visible), drop_path);
  return AlignmentLoss(loss_type_, level_weights_, aligned, targets);
}

absl::StatusOr<PretrainSummary> Pretrainer::Run() {
  const uint64_t first_step = token_.epoch * steps_per_epoch_ + token_.next_step;
  const uint64_t checkpoint_every =
      options_.checkpoint_every > 0 ? options_.checkpoint_every : steps_per_epoch_;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto metrics,
                              MetricsLog::Open(options_.out + "/metrics.jsonl", first_step));
  PretrainSummary summary;
  MessageBox messages;
  Progress progress({.label = "pretrain",
                     .unit = "images",
                     .total = last_step_ * options_.batch_size,
                     .already_done = first_step * options_.batch_size});
  // K view seeds give each view every K-th epoch; without bound none repeats.
  const double repeats =
      input_->num_view_seeds() > 0 ? static_cast<double>(options_.epochs) / input_->num_view_seeds() : 1.0;
  progress.Message(absl::StrFormat("%s; %d steps per epoch, each view seen %.3g times in %d epochs",
                                   input_->summary(), steps_per_epoch_, repeats, options_.epochs));
  const std::unique_ptr<BatchFeed> feed = StartFeed(messages);
  const auto stop = [&] {
    messages.Print(progress);
    return StopRequested();
  };
  uint64_t saved_at = first_step;
  uint64_t step = first_step;
  double waited = 0, worked = 0;  // seconds, the first step left out: the feed starts with it

  for (; step < last_step_ && !StopRequested(); ++step) {
    const absl::Time begin = absl::Now();
    // 1. The learning rate, by the fractional epoch.
    const double epoch = static_cast<double>(step) / static_cast<double>(steps_per_epoch_);
    const double lr = schedule_.At(epoch);

    // 2. Pixels of visible patches and the teacher's features, made ready in the background.
    const absl::StatusOr<TrainingBatch*> next = feed->Next(stop);
    if (!next.ok()) {
      if (step > saved_at)
        AFTERIMAGE_RETURN_IF_ERROR(Save(step, summary));  // what was learnt before the records ran out
      return next.status();
    }
    TrainingBatch* const batch = *next;
    if (batch == nullptr) break;
    const absl::Time ready = absl::Now();

    // 3. Student over class token and visible patches, alignment, loss against the targets; 4. gradients; 5.
    // update.
    float loss = 0;
    if (batch->size > 0) {
      AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] {
        const at::Tensor value = Loss(*batch, step);
        value.backward();
        loss = value.item<float>();
      }));
      if (!std::isfinite(loss)) {
        return absl::InternalError(
            absl::StrCat("the loss is not finite at step ", step,
                         ": lower --lr, or look at the features with `afterimage verify`"));
      }
      AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] { optimizer_->Step(lr); }));
    }

    // 6. Where we are: all of it is in the next checkpoint.
    token_.running_digest = AdvanceDigest(token_.running_digest, batch->step, batch->sum);
    token_.epoch = batch->epoch;
    token_.next_step = batch->step + 1;
    summary.num_failed += batch->num_failed;
    summary.num_skipped += batch->num_skipped;
    const uint64_t num_samples = batch->size;
    feed->Release(batch);

    // 7. Records of the run.
    const absl::Time end = absl::Now();
    const double step_seconds = absl::ToDoubleSeconds(end - begin);
    const double wait_seconds = absl::ToDoubleSeconds(ready - begin);
    if (step > first_step) {
      waited += wait_seconds;
      worked += step_seconds;
    }
    metrics->Step({.step = step,
                   .epoch = epoch,
                   .loss = loss,
                   .lr = lr,
                   .images_per_second = static_cast<double>(options_.batch_size) / step_seconds,
                   .wait_share = wait_seconds / step_seconds,
                   .num_samples = num_samples});
    summary.last_loss = loss;
    if (token_.next_step == steps_per_epoch_) {
      metrics->EndOfEpoch(step, token_.epoch, token_.running_digest.Hex());
      ++token_.epoch;
      token_.next_step = 0;
      token_.running_digest = EpochStartDigest(token_.set_id, token_.order.Id(), token_.epoch);
    }
    messages.Print(progress);
    progress.Update((step + 1) * options_.batch_size,
                    absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch, loss, lr,
                                    worked > 0 ? 100 * waited / worked : 0.0));
    if ((step + 1) % checkpoint_every == 0) {
      AFTERIMAGE_RETURN_IF_ERROR(metrics->Flush());
      AFTERIMAGE_RETURN_IF_ERROR(Save(step + 1, summary));
      saved_at = step + 1;
    }
  }
  progress.Finish();
  AFTERIMAGE_RETURN_IF_ERROR(metrics->Flush());
  if (step > saved_at || summary.checkpoint.empty()) AFTERIMAGE_RETURN_IF_ERROR(Save(step, summary));

  summary.steps = step;
  summary.stopped = step < last_step_;
  const uint64_t timed_steps = step > first_step ? step - first_step - 1 : 0;
  summary.images_per_second =
      worked > 0 ? static_cast<double>(timed_steps * options_.batch_size) / worked : 0;
  summary.wait_share = worked > 0 ? waited / worked : 0;
  AFTERIMAGE_RETURN_IF_ERROR(WriteSummary(summary));
  return summary;
}

absl::Status Pretrainer::WriteSummary(const PretrainSummary& summary) const {
  const Json report = {{"config", config_},
                       {"features", input_->summary()},
                       {"feature_id", token_.feature_id.Hex()},
                       {"set_id", token_.set_id.Hex()},
                       {"order_id", token_.order.Id().Hex()},
                       {"running_digest", token_.running_digest.Hex()},
                       {"steps", summary.steps},
                       {"steps_per_epoch", steps_per_epoch_},
                       {"last_loss", summary.last_loss},
                       {"images_per_second", summary.images_per_second},
                       {"wait_share", summary.wait_share},
                       {"failed_samples", summary.num_failed},
                       {"skipped_samples", summary.num_skipped},
                       {"threads", at::get_num_threads()},
                       {"device", device_.str()},
                       {"stopped", summary.stopped},
                       {"checkpoint", summary.checkpoint}};
  return WriteFileAtomically(options_.out + "/summary.json", report.dump(2) + "\n");
}

}  // namespace

absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options) {
  Pretrainer pretrainer(options);
  AFTERIMAGE_RETURN_IF_ERROR(pretrainer.Prepare());
  return pretrainer.Run();
}

}  // namespace afterimage::trainer
