#include "trainer/pretrain/run_books.h"

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {

RunBooks::RunBooks(const PretrainPlan& plan, Progress* progress, MessageBox* messages)
    : plan_(plan), progress_(progress), messages_(messages) {}

absl::StatusOr<std::unique_ptr<RunBooks>> RunBooks::Open(const PretrainPlan& plan, const RunState& state,
                                                         Progress* progress, MessageBox* messages) {
  auto books = std::unique_ptr<RunBooks>(new RunBooks(plan, progress, messages));
  if (plan.slice.rank != 0) return books;
  const PretrainOptions& options = plan.options;
  const uint64_t step = plan.StepOf(state.token);
  AFTERIMAGE_RETURN_IF_ERROR(WriteConfig(plan));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      books->records_,
      RunRecords::Open(
          {.folder = options.out, .next_step = step, .last_step = plan.last_step, .messages = messages}));
  AFTERIMAGE_ASSIGN_OR_RETURN(books->pictures_, SamplePictures::Open(plan));
  books->keeper_.emplace(
      CheckpointKeeper::Options{.folder = options.out, .keep = options.keep, .messages = messages});
  if (step > 0) books->Warn(books->keeper_->Resume(step, books->KeepOf(state)));
  return books;
}

void RunBooks::Warn(const absl::Status& status) {
  if (!status.ok()) progress_->Message(absl::StrCat("warning: ", status.message()));
}

CheckpointKeeper::Keep RunBooks::KeepOf(const RunState& state) const {
  const uint64_t steps_done = plan_.StepOf(state.token);
  return {.best = state.epochs.best_step() == steps_done,
          .for_good = plan_.options.keep_every.Falls(steps_done, plan_.steps_per_epoch)};
}

void RunBooks::Offer(const TrainingBatch& batch) {
  if (pictures_ != nullptr) Warn(pictures_->Offer(batch));
}

void RunBooks::Step(const StepMetrics& metrics) {
  if (records_ != nullptr) records_->Step(metrics);
}

void RunBooks::EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest,
                          double mean_loss) {
  if (records_ != nullptr) records_->EndOfEpoch(step, epoch, running_digest, mean_loss);
}

absl::Status RunBooks::AfterStep(const RunState& state, TrainStep& train_step) {
  if (records_ == nullptr) return absl::OkStatus();
  const PretrainOptions& options = plan_.options;
  const uint64_t steps_done = plan_.StepOf(state.token);
  if (options.image_every.Falls(steps_done, plan_.steps_per_epoch) && pictures_->has_samples()) {
    const absl::StatusOr<RgbImage> picture = pictures_->Draw(train_step);
    Warn(picture.ok() ? records_->Image(steps_done - 1, "samples", *picture) : picture.status());
  }
  records_->FlushNowAndThen();
  // A checkpoint is copied here and written beside the next steps.
  const CheckpointKeeper::Keep keep = KeepOf(state);
  if (!options.checkpoint_every.Falls(steps_done, plan_.steps_per_epoch) && !keep.best && !keep.for_good)
    return absl::OkStatus();
  records_->TryFlush();
  Warn(keeper_->Save(CheckpointOf(plan_, train_step, state), keep));
  return absl::OkStatus();
}

absl::StatusOr<std::string> RunBooks::Finish(const RunState& state, const TrainStep& train_step) {
  if (records_ == nullptr) return "";
  const absl::Status recorded = records_->Flush();
  const absl::StatusOr<std::string> last =
      keeper_->Finish(CheckpointOf(plan_, train_step, state), KeepOf(state));
  messages_->Print(*progress_);
  if (!last.ok()) return LastStateLost(last.status(), plan_.options.out);
  AFTERIMAGE_RETURN_IF_ERROR(recorded);
  return *last;
}

}  // namespace afterimage::trainer
