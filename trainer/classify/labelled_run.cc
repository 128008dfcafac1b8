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
#include "trainer/classify/labelled_ranks.h"
#include "trainer/classify/labelled_state.h"
#include "trainer/data/augment/augment_random.h"
#include "trainer/distributed/agreement.h"
#include "trainer/distributed/gradient_buckets.h"
#include "trainer/distributed/self_communicator.h"
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
  LabelledRun(const LabelledOptions& options, LabelledTask task, Communicator& ranks)
      : options_(options),
        ranks_(ranks),
        task_(std::move(task)),
        state_(options_, task_),
        steps_per_epoch_(task_.input->steps_per_epoch()),
        clock_(options_.batch_size) {
    if (ranks.num_ranks() > 1) buckets_.emplace(task_.model->parameters(), &ranks, /*bucket_bytes=*/0);
  }

  absl::StatusOr<LabelledSummary> Run();

 private:
  bool leads() const { return ranks_.rank() == 0; }  // reads, writes and prints for all
  bool timed() const { return options_.duration > absl::ZeroDuration(); }
  uint64_t last_step() const {
    const uint64_t whole = options_.epochs * steps_per_epoch_;
    return options_.steps > 0 && (timed() || options_.steps < whole) ? options_.steps : whole;
  }
  bool Finished() const {
    if (options_.steps > 0 && state_.step >= options_.steps) return true;
    if (timed()) return Elapsed() >= absl::ToDoubleSeconds(options_.duration);
    return state_.step >= last_step();
  }
  // Seconds of training: of several ranks, as they last agreed.
  double Elapsed() const { return ranks_.num_ranks() == 1 ? state_.Elapsed() : agreed_.elapsed; }
  // True where a rank was asked to stop. `mine`: an error of this rank's; `waited`: for the batch.
  absl::StatusOr<bool> AgreeToStop(const absl::Status& mine, const StallTimes& waited = {});
  absl::Status Begin();
  // Until the end or a stop.
  absl::Status Train();
  double RateAt(double epoch);
  // False where it was not made, since a rank was asked to stop.
  absl::StatusOr<bool> TrainOneStep();
  void Record(const StepMetrics& metrics);
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
  Communicator& ranks_;
  LabelledTask task_;
  std::optional<GradientBuckets> buckets_;  // of several ranks
  LabelledState state_;
  const uint64_t steps_per_epoch_;
  StepClock clock_;
  MessageBox messages_;
  std::unique_ptr<RunRecords> records_;       // null but on rank 0
  std::unique_ptr<CheckpointKeeper> keeper_;  // likewise
  std::unique_ptr<Progress> progress_;
  uint64_t first_step_ = 0;
  AgreedMoment agreed_;  // last
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
  if (state_.warmup_ended < 0) state_.warmup_ended = Elapsed();
  return WarmupCosine{peak, options_.min_lr, state_.warmup_ended, absl::ToDoubleSeconds(options_.duration)}
      .At(Elapsed());
}

absl::StatusOr<float> LabelledRun::Gradients(const LabelledBatch& batch) {
  at::Tensor loss;
  std::unique_ptr<PendingSum> loss_sum;
  AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&]() -> absl::Status {
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
    task_.model->BeginStep(state_.step, batch.places);
    const auto num_parts = std::min(static_cast<int64_t>(options_.accumulate), size);
    loss = at::zeros({1}, at::TensorOptions().dtype(at::kFloat).device(inputs.device()));
    for (int64_t part = 0; part < num_parts; ++part) {
      const int64_t begin = part * size / num_parts;
      const int64_t count = (part + 1) * size / num_parts - begin;
      at::Tensor logits;
      {
        const PrecisionScope scope(state_.precision, inputs.device().type());
        logits = task_.model->TrainingLogits(inputs.narrow(0, begin, count), begin);
      }
      const at::Tensor of_part = SoftCrossEntropy(logits, targets.narrow(0, begin, count),
                                                  static_cast<int64_t>(options_.batch_size));
      loss.add_(of_part.detach());
      if (buckets_.has_value() && part + 1 == num_parts) {
        AFTERIMAGE_ASSIGN_OR_RETURN(loss_sum, ranks_.StartSum(loss));
        buckets_->Begin();
      }
      (state_.scaler.has_value() ? state_.scaler->Scaled(of_part) : of_part).backward();
    }
    return absl::OkStatus();
  }));
  if (buckets_.has_value()) {
    AFTERIMAGE_RETURN_IF_ERROR(buckets_->Finish());
    AFTERIMAGE_RETURN_IF_ERROR(loss_sum->Wait());
  }
  return RunTorch([&] { return loss.item<float>(); });
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

absl::StatusOr<bool> LabelledRun::AgreeToStop(const absl::Status& mine, const StallTimes& waited) {
  AFTERIMAGE_ASSIGN_OR_RETURN(agreed_,
                              AgreeOnMoment(ranks_, mine, StopRequested(), state_.Elapsed(), waited));
  return agreed_.stop;
}

absl::StatusOr<bool> LabelledRun::TrainOneStep() {
  // 1. A batch, made in the background; all ranks go on, or none.
  ranks_.SetActivity(absl::StrCat("step ", state_.step, ": input"));
  clock_.BeginStep();
  const absl::StatusOr<LabelledBatch> next = task_.input->Next();
  clock_.InputIsReady();
  ranks_.SetActivity(absl::StrCat("step ", state_.step));
  StallTimes waited = next.ok() ? next->waited : StallTimes();
  waited[StallPart::kDecode] += clock_.input_wait() - waited.Total();
  AFTERIMAGE_ASSIGN_OR_RETURN(const bool stop, AgreeToStop(next.status(), waited));
  if (stop) return false;
  const LabelledBatch& batch = *next;

  // 2. The learning rate, by the fractional epoch or the time.
  const double epoch = static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_);
  const double lr = RateAt(epoch);

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
  Record({.step = state_.step,
          .epoch = epoch,
          .loss = loss,
          .lr = lr,
          .images_per_second = clock_.step_images_per_second(),
          .wait_share = clock_.step_wait_share(),
          .stalls = StallRowsOf(agreed_.waited),
          .step_seconds = clock_.step_seconds(),
          .num_samples = options_.batch_size,
          .gradient_norm = norm,
          .loss_scale = state_.scaler.has_value() ? state_.scaler->scale() : 0,
          .overflow = overflow});
  ++state_.step;
  loss_sum_ += loss;
  ++loss_count_;
  std::string detail =
      absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch,
                      loss_sum_ / static_cast<double>(loss_count_), lr, 100 * clock_.wait_share());
  if (timed())
    absl::StrAppend(&detail, "  left ", HumanDuration(options_.duration - absl::Seconds(Elapsed())));
  progress_->Update(state_.step * options_.batch_size, detail);
  return true;
}

void LabelledRun::Record(const StepMetrics& metrics) {
  if (!leads()) return;
  records_->Step(metrics);
  records_->FlushNowAndThen();
  messages_.Print(*progress_);
}

bool LabelledRun::NeedsEvaluation() const {
  if (!task_.evaluate || state_.step == 0 || state_.evaluated_at == state_.step) return false;
  return Finished() || state_.step % (steps_per_epoch_ * options_.evaluate_every) == 0;
}

absl::Status LabelledRun::Evaluate() {
  ranks_.SetActivity("evaluation");
  AFTERIMAGE_ASSIGN_OR_RETURN(const ClassificationResult result,
                              MergeOverRanks(ranks_, task_.evaluate(ExportedLogits())));
  state_.evaluated_at = state_.step;
  const bool best = result.num_top1 > state_.best_top1_count || state_.best_at == 0;
  if (best) {
    state_.best_top1_count = result.num_top1;
    state_.best_at = state_.step;
    if (leads()) AFTERIMAGE_RETURN_IF_ERROR(state_.WriteNetwork("best_model.safetensors").status());
  }
  state_.num_test_images = result.num_images;
  const NamedValue values[] = {
      {"test/top1", result.top1()}, {"test/top5", result.top5()}, {"test/loss", result.loss}};
  if (leads()) records_->Values(state_.step - 1, values);
  progress_->Message(absl::StrFormat(
      "epoch %.4g  test top-1 %.2f %%  top-5 %.2f %%  loss %.4f%s  after %.1f min",
      static_cast<double>(state_.step) / static_cast<double>(steps_per_epoch_), 100 * result.top1(),
      100 * result.top5(), result.loss, best ? "  (best)" : "", state_.Elapsed() / 60));
  summary_.test = result;
  return absl::OkStatus();
}

absl::Status LabelledRun::Begin() {
  if (steps_per_epoch_ == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--batch-size ", options_.batch_size, " is above the training images"));
  }
  if (options_.batch_size < 2 * uint64_t{ranks_.num_ranks()} && ranks_.num_ranks() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("--batch-size ", options_.batch_size, " gives ",
                                                   ranks_.num_ranks(), " ranks less than two images each"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(
      AgreeOnValues(ranks_, {{"config", task_.config},
                             {"steps", options_.steps},
                             {"evaluate_every", options_.evaluate_every},
                             {"minutes", DecimalText(absl::ToDoubleMinutes(options_.duration))},
                             {"test_images", static_cast<bool>(task_.evaluate)}}));
  if (leads()) AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options_.out));
  AFTERIMAGE_RETURN_IF_ERROR(state_.GoOn(ranks_));
  first_step_ = state_.step;
  progress_ = std::make_unique<Progress>(
      Progress::Options{.label = task_.command,
                        .unit = "images",
                        .total = timed() ? 0 : last_step() * options_.batch_size,
                        .already_done = first_step_ * options_.batch_size,
                        .style = leads() ? Progress::Style::kAutomatic : Progress::Style::kSilent});
  if (ranks_.num_ranks() > 1) progress_->Message(ranks_.Description());
  AFTERIMAGE_RETURN_IF_ERROR(task_.input->Begin(first_step_));
  if (!leads()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(state_.WriteConfig());
  AFTERIMAGE_ASSIGN_OR_RETURN(records_, RunRecords::Open({.folder = options_.out,
                                                          .next_step = first_step_,
                                                          .last_step = timed() ? 0 : last_step(),
                                                          .messages = &messages_}));
  keeper_ = std::make_unique<CheckpointKeeper>(
      CheckpointKeeper::Options{.folder = options_.out, .keep = options_.keep, .messages = &messages_});
  return first_step_ > 0 ? keeper_->Resume(first_step_, HowToKeep()) : absl::OkStatus();
}

absl::Status LabelledRun::Train() {
  AFTERIMAGE_RETURN_IF_ERROR(AgreeToStop(absl::OkStatus()).status());  // also on the time
  while (true) {
    if (NeedsEvaluation()) {
      const absl::Status evaluated = Evaluate();
      if (absl::IsCancelled(evaluated)) return absl::OkStatus();  // the next run begins with it
      AFTERIMAGE_RETURN_IF_ERROR(evaluated);
    }
    // A checkpoint: copied here, written beside the next steps.
    const CheckpointKeeper::Keep keep = HowToKeep();
    if (leads() && state_.step > first_step_ &&
        (options_.checkpoint_every.Falls(state_.step, steps_per_epoch_) || keep.best || keep.for_good)) {
      records_->TryFlush();
      AFTERIMAGE_RETURN_IF_ERROR(keeper_->Save(state_.ToCheckpoint(), keep));
    }
    if (Finished()) return absl::OkStatus();
    if (state_.step % steps_per_epoch_ == 0) loss_sum_ = loss_count_ = 0;
    AFTERIMAGE_ASSIGN_OR_RETURN(const bool trained, TrainOneStep());
    if (!trained) return absl::OkStatus();
  }
}

absl::StatusOr<LabelledSummary> LabelledRun::Run() {
  AFTERIMAGE_RETURN_IF_ERROR(Begin());
  const absl::Status trained = Train();
  if (absl::IsUnavailable(trained) && leads()) {  // a rank has gone: what was learnt before is kept
    const absl::Status saved = keeper_->Finish(state_.ToCheckpoint(), HowToKeep()).status();
    if (!saved.ok()) progress_->Message(absl::StrCat("warning: ", saved.message()));
  }
  AFTERIMAGE_RETURN_IF_ERROR(trained);
  progress_->Finish();
  return Finish();
}

absl::StatusOr<LabelledSummary> LabelledRun::Finish() {
  ranks_.SetActivity("the last checkpoint");
  if (leads()) {
    const absl::Status recorded = records_->Flush();
    const absl::StatusOr<std::string> last = keeper_->Finish(state_.ToCheckpoint(), HowToKeep());
    messages_.Print(*progress_);
    if (!last.ok()) return LastStateLost(last.status(), options_.out);
    AFTERIMAGE_RETURN_IF_ERROR(recorded);
  }
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
  if (leads()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(summary_.weights, state_.WriteNetwork("model.safetensors"));
  }
  if (!summary_.test.has_value() && task_.evaluate && !summary_.stopped) {  // all was done before this start
    AFTERIMAGE_ASSIGN_OR_RETURN(summary_.test, MergeOverRanks(ranks_, task_.evaluate(ExportedLogits())));
  }
  if (leads()) {
    AFTERIMAGE_RETURN_IF_ERROR(
        state_.WriteSummary(summary_, clock_.images_per_second(), clock_.wait_share()));
  }
  AFTERIMAGE_RETURN_IF_ERROR(ranks_.Barrier());  // nobody has ended well before all is written
  return summary_;
}

}  // namespace

absl::StatusOr<LabelledSummary> RunLabelled(const LabelledOptions& options, LabelledTask task,
                                            Communicator& ranks) {
  LabelledRun run(options, std::move(task), ranks);
  return run.Run();
}

absl::StatusOr<LabelledSummary> RunLabelled(const LabelledOptions& options, LabelledTask task) {
  SelfCommunicator alone;
  return RunLabelled(options, std::move(task), alone);
}

}  // namespace afterimage::trainer
