#include "trainer/classify/labelled_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/vit/torch_status.h"
#include "trainer/classify/labelled_state.h"
#include "trainer/data/augment/augment_random.h"
#include "trainer/loss/soft_cross_entropy.h"
#include "trainer/optim/gradients.h"
#include "trainer/optim/schedule.h"
#include "trainer/run/checkpoint_keeper.h"
#include "trainer/run/message_box.h"
#include "trainer/run/run_records.h"
#include "trainer/run/step_clock.h"

namespace afterimage::trainer {
namespace {

class LabelledRun {
 public:
  LabelledRun(const LabelledOptions& options, LabelledTask task)
      : options_(options),
        task_(std::move(task)),
        state_(options_, task_),
        steps_per_epoch_(task_.input->steps_per_epoch()),
        clock_(options_.batch_size) {}

  absl::StatusOr<LabelledSummary> Run();

 private:
  bool timed() const { return options_.duration > absl::ZeroDuration(); }
  uint64_t last_step() const {
    const uint64_t whole = options_.epochs * steps_per_epoch_;
    return options_.steps > 0 && (timed() || options_.steps < whole) ? options_.steps : whole;
  }
  bool Finished() const {
    if (options_.steps > 0 && state_.step >= options_.steps) return true;
    if (timed()) return state_.Elapsed() >= absl::ToDoubleSeconds(options_.duration);
    return state_.step >= last_step();
  }
  double RateAt(double epoch);
  absl::Status TrainOneStep();
  absl::StatusOr<float> Gradients(const LabelledBatch& batch);
  absl::Status NotFinite(absl::string_view what, const LabelledBatch& batch) const;
  // After the last step of every so many epochs, and at the end, where that has not been done.
  bool NeedsEvaluation() const;
  absl::Status Evaluate();
  LogitsOfInputs ExportedLogits() const {
    return [this, parameters = state_.ExportedParameters()](const at::Tensor& inputs) {
      return task_.model->Logits(parameters, inputs);
    };
  }
  CheckpointKeeper::Keep HowToKeep() const {
    return {.best = state_.best_at == state_.step && state_.step > 0,
            .for_good = options_.keep_every.Falls(state_.step, steps_per_epoch_)};
  }
  absl::StatusOr<LabelledSummary> Finish();

  const LabelledOptions options_;
  LabelledTask task_;
  LabelledState state_;
  const uint64_t steps_per_epoch_;
  StepClock clock_;
  MessageBox messages_;
  std::unique_ptr<RunRecords> records_;
  std::unique_ptr<CheckpointKeeper> keeper_;
  std::unique_ptr<Progress> progress_;
  double loss_sum_ = 0;  // of this epoch's steps, as far as this process has seen them
  uint64_t loss_count_ = 0;
  LabelledSummary summary_;
};

double LabelledRun::RateAt(double epoch) {
  const double peak = options_.LearningRate();
  if (!timed() || epoch < options_.warmup_epochs) {
    return WarmupCosine{peak, options_.min_lr, options_.warmup_epochs, static_cast<double>(options_.epochs)}
        .At(epoch);
  }
  if (state_.warmup_ended < 0) state_.warmup_ended = state_.Elapsed();
  return WarmupCosine{peak, options_.min_lr, state_.warmup_ended, absl::ToDoubleSeconds(options_.duration)}
      .At(state_.Elapsed());
}

absl::StatusOr<float> LabelledRun::Gradients(const LabelledBatch& batch) {
  return RunTorch([&] {
    const int64_t size = batch.inputs.size(0);
    at::Tensor inputs = batch.inputs;
    Mix mix;
    if (options_.mix.enabled()) {
      mix = DrawMix(options_.mix, static_cast<uint32_t>(inputs.size(1)),
                    AugmentRandom(options_.seed, static_cast<uint32_t>(state_.step >> 32),
                                  static_cast<uint32_t>(state_.step), AugmentPurpose::kMix));
      ApplyMix(mix, inputs);
    }
    const auto num_classes = static_cast<int64_t>(task_.class_names.size());
    const at::Tensor targets =
        MixedTargets(mix, batch.labels, num_classes, options_.label_smoothing).to(inputs.device());
    task_.model->BeginStep(state_.step, size);
    const auto num_parts = std::min(static_cast<int64_t>(options_.accumulate), size);
    at::Tensor sum;
    for (int64_t part = 0; part < num_parts; ++part) {
      const int64_t begin = part * size / num_parts;
      const int64_t count = (part + 1) * size / num_parts - begin;
      at::Tensor logits;
      {
        const PrecisionScope scope(state_.precision, inputs.device().type());
        logits = task_.model->TrainingLogits(inputs.narrow(0, begin, count), begin);
      }
      const at::Tensor loss = SoftCrossEntropy(logits, targets.narrow(0, begin, count), size);
      (state_.scaler.has_value() ? state_.scaler->Scaled(loss) : loss).backward();
      sum = sum.defined() ? sum + loss.detach() : loss.detach();
    }
    return sum.item<float>();
  });
}

absl::Status LabelledRun::NotFinite(absl::string_view what, const LabelledBatch& batch) const {
  constexpr size_t kMost = 8;
  std::string names;
  for (size_t i = 0; i < std::min(kMost, batch.indices.size()); ++i)
    absl::StrAppend(&names, i > 0 ? ", " : "", task_.input->NameOf(batch.indices[i]));
  return absl::InternalError(
      absl::StrCat("the ", what, " is not finite at step ", state_.step, " (images ", names,
                   batch.indices.size() > kMost ? ", …" : "", "): lower --lr, or give --clip-grad; ",
                   options_.out, " keeps the last checkpoint, from which the same command with --steps ",
                   state_.step + 1, " comes to this step again"));
}

absl::Status LabelledRun::TrainOneStep() {
  // 1. The learning rate, by the fractional epoch or the time.
  const double epoch = static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_);
  const double lr = RateAt(epoch);

  // 2. A batch, made in the background.
  clock_.BeginStep();
  AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledBatch batch, task_.input->Next());
  clock_.InputIsReady();

  // 3. Mixing, forward, loss, backward.
  AFTERIMAGE_ASSIGN_OR_RETURN(const float loss, Gradients(batch));
  if (!std::isfinite(loss)) return NotFinite("loss", batch);

  // 4. Clipping, update, average; none where gradients overflowed in half precision.
  std::optional<double> norm;
  bool overflow = false;
  const absl::Status updated = RunTorch([&]() -> absl::Status {
    if (state_.scaler.has_value()) {
      overflow = !state_.scaler->Unscale(task_.model->parameters());
      if (overflow && state_.scaler->exhausted()) return NotFinite("norm of the gradients", batch);
      state_.scaler->Update(!overflow);
    }
    if (overflow) {
      DropGradients(task_.model->parameters());
      return absl::OkStatus();
    }
    if (options_.clip_grad > 0) norm = ClipGradients(task_.model->parameters(), options_.clip_grad);
    if (!std::isfinite(norm.value_or(0))) return NotFinite("norm of the gradients", batch);
    task_.optimizer->Step(lr);
    if (state_.average.has_value()) state_.average->Update();
    return absl::OkStatus();
  });
  AFTERIMAGE_RETURN_IF_ERROR(updated);
  clock_.EndStep();

  // 5. Records of the run.
  records_->Step({.step = state_.step,
                  .epoch = epoch,
                  .loss = loss,
                  .lr = lr,
                  .images_per_second = clock_.step_images_per_second(),
                  .wait_share = clock_.step_wait_share(),
                  .num_samples = static_cast<uint64_t>(batch.inputs.size(0)),
                  .gradient_norm = norm,
                  .loss_scale = state_.scaler.has_value() ? state_.scaler->scale() : 0,
                  .overflow = overflow});
  records_->FlushNowAndThen();
  messages_.Print(*progress_);
  ++state_.step;
  loss_sum_ += loss;
  ++loss_count_;
  std::string detail =
      absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch,
                      loss_sum_ / static_cast<double>(loss_count_), lr, 100 * clock_.wait_share());
  if (timed())
    absl::StrAppend(&detail, "  left ", HumanDuration(options_.duration - absl::Seconds(state_.Elapsed())));
  progress_->Update(state_.step * options_.batch_size, detail);
  return absl::OkStatus();
}

bool LabelledRun::NeedsEvaluation() const {
  if (!task_.evaluate || state_.step == 0 || state_.evaluated_at == state_.step) return false;
  return Finished() || state_.step % (steps_per_epoch_ * options_.evaluate_every) == 0;
}

absl::Status LabelledRun::Evaluate() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const ClassificationResult result, task_.evaluate(ExportedLogits()));
  state_.evaluated_at = state_.step;
  const bool best = result.num_top1 > state_.best_top1_count || state_.best_at == 0;
  if (best) {
    state_.best_top1_count = result.num_top1;
    state_.best_at = state_.step;
    AFTERIMAGE_RETURN_IF_ERROR(state_.WriteNetwork("best_model.safetensors").status());
  }
  state_.num_test_images = result.num_images;
  const NamedValue values[] = {
      {"test/top1", result.top1()}, {"test/top5", result.top5()}, {"test/loss", result.loss}};
  records_->Values(state_.step - 1, values);
  progress_->Message(absl::StrFormat(
      "epoch %.4g  test top-1 %.2f %%  top-5 %.2f %%  loss %.4f%s  after %.1f min",
      static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_), 100 * result.top1(),
      100 * result.top5(), result.loss, best ? "  (best)" : "", state_.Elapsed() / 60));
  summary_.test = result;
  return absl::OkStatus();
}

absl::StatusOr<LabelledSummary> LabelledRun::Run() {
  if (steps_per_epoch_ == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--batch-size ", options_.batch_size, " is above the training images"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options_.out));
  AFTERIMAGE_RETURN_IF_ERROR(state_.GoOn());
  AFTERIMAGE_RETURN_IF_ERROR(state_.WriteConfig());
  const uint64_t first_step = state_.step;
  AFTERIMAGE_ASSIGN_OR_RETURN(records_, RunRecords::Open({.folder = options_.out,
                                                          .next_step = first_step,
                                                          .last_step = timed() ? 0 : last_step(),
                                                          .messages = &messages_}));
  AFTERIMAGE_RETURN_IF_ERROR(task_.input->Begin(first_step));
  keeper_ = std::make_unique<CheckpointKeeper>(
      CheckpointKeeper::Options{.folder = options_.out, .keep = options_.keep, .messages = &messages_});
  if (first_step > 0) AFTERIMAGE_RETURN_IF_ERROR(keeper_->Resume(first_step, HowToKeep()));
  progress_ =
      std::make_unique<Progress>(Progress::Options{.label = task_.command,
                                                   .unit = "images",
                                                   .total = timed() ? 0 : last_step() * options_.batch_size,
                                                   .already_done = first_step * options_.batch_size});
  while (true) {
    if (NeedsEvaluation()) {
      const absl::Status evaluated = Evaluate();
      if (absl::IsCancelled(evaluated)) break;  // the next run begins with it
      AFTERIMAGE_RETURN_IF_ERROR(evaluated);
    }
    // A checkpoint: copied here, written beside the next steps.
    const CheckpointKeeper::Keep keep = HowToKeep();
    if (state_.step > first_step &&
        (options_.checkpoint_every.Falls(state_.step, steps_per_epoch_) || keep.best || keep.for_good)) {
      records_->TryFlush();
      AFTERIMAGE_RETURN_IF_ERROR(keeper_->Save(state_.ToCheckpoint(), keep));
    }
    if (Finished() || StopRequested()) break;
    if (state_.step % steps_per_epoch_ == 0) loss_sum_ = loss_count_ = 0;
    AFTERIMAGE_RETURN_IF_ERROR(TrainOneStep());
  }
  progress_->Finish();
  return Finish();
}

absl::StatusOr<LabelledSummary> LabelledRun::Finish() {
  const absl::Status recorded = records_->Flush();
  const absl::StatusOr<std::string> last = keeper_->Finish(state_.ToCheckpoint(), HowToKeep());
  messages_.Print(*progress_);
  if (!last.ok()) return LastStateLost(last.status(), options_.out);
  AFTERIMAGE_RETURN_IF_ERROR(recorded);
  summary_.stopped = !Finished() || NeedsEvaluation();
  summary_.steps = state_.step;
  summary_.epochs = state_.step / steps_per_epoch_;
  summary_.minutes = state_.Elapsed() / 60;
  summary_.train_loss = loss_count_ > 0 ? loss_sum_ / static_cast<double>(loss_count_) : 0;
  if (state_.num_test_images > 0) {
    summary_.best_top1 =
        static_cast<double>(state_.best_top1_count) / static_cast<double>(state_.num_test_images);
    summary_.best_epoch = state_.best_at / steps_per_epoch_;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(summary_.weights, state_.WriteNetwork("model.safetensors"));
  if (!summary_.test.has_value() && task_.evaluate && !summary_.stopped) {  // all was done before this start
    AFTERIMAGE_ASSIGN_OR_RETURN(summary_.test, task_.evaluate(ExportedLogits()));
  }
  AFTERIMAGE_RETURN_IF_ERROR(state_.WriteSummary(summary_, clock_.images_per_second(), clock_.wait_share()));
  return summary_;
}

}  // namespace

absl::StatusOr<LabelledSummary> RunLabelled(const LabelledOptions& options, LabelledTask task) {
  LabelledRun run(options, std::move(task));
  return run.Run();
}

}  // namespace afterimage::trainer
