#include "trainer/pretrain/pretrainer.h"

#include <cmath>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "trainer/pretrain/not_finite.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/run_folder.h"
#include "trainer/pretrain/sample_pictures.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/best_epoch.h"
#include "trainer/run/message_box.h"
#include "trainer/run/run_records.h"
#include "trainer/run/step_clock.h"

namespace afterimage::trainer {
namespace {

std::string StartMessage(const PretrainPlan& plan) {
  // K view seeds give each view every K-th epoch; without bound none repeats.
  const uint32_t num_seeds = plan.input->num_view_seeds();
  const double repeats = num_seeds > 0 ? static_cast<double>(plan.options.epochs) / num_seeds : 1.0;
  return absl::StrFormat("%s; %d steps per epoch, each view seen %.3g times in %d epochs",
                         plan.input->summary(), plan.steps_per_epoch, repeats, plan.options.epochs);
}

}  // namespace

absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const PretrainPlan plan, PlanPretraining(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto train_step, TrainStep::Create(plan));
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options.out));
  AFTERIMAGE_ASSIGN_OR_RETURN(StepToken token, GoOn(plan, *train_step));
  AFTERIMAGE_RETURN_IF_ERROR(WriteConfig(plan));
  const uint64_t first_step = plan.StepOf(token);
  MessageBox messages;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto records, RunRecords::Open({.folder = options.out,
                                                                    .next_step = first_step,
                                                                    .last_step = plan.last_step,
                                                                    .messages = &messages}));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto pictures, SamplePictures::Open(plan));
  Progress progress({.label = "pretrain",
                     .unit = "images",
                     .total = plan.last_step * options.batch_size,
                     .already_done = first_step * options.batch_size});
  progress.Message(StartMessage(plan));
  for (const std::string& note : plan.notes) progress.Message(note);
  BatchFeed::Options feed_options = FeedFrom(plan, token);
  feed_options.message = [&messages](const std::string& text) { messages.Put(text); };
  BatchFeed feed(plan.input->source(), std::move(feed_options));
  // What people watch is worth a warning, never the run.
  const auto warn = [&progress](const absl::Status& status) {
    if (!status.ok()) progress.Message(absl::StrCat("warning: ", status.message()));
  };
  const auto stop = [&] {
    messages.Print(progress);
    return StopRequested();
  };

  const uint64_t checkpoint_every =
      options.checkpoint_every > 0 ? options.checkpoint_every : plan.steps_per_epoch;
  PretrainSummary summary;
  StepClock clock(options.batch_size);
  BestEpoch epoch_loss;
  uint64_t saved_at = first_step;
  uint64_t step = first_step;
  for (; step < plan.last_step && !StopRequested(); ++step) {
    // 1. The learning rate, by the fractional epoch.
    const double epoch = static_cast<double>(step) / static_cast<double>(plan.steps_per_epoch);
    const double lr = plan.schedule.At(epoch);

    // 2. Pixels of visible patches and the teacher's features, made ready in the background.
    clock.BeginStep();
    const absl::StatusOr<TrainingBatch*> next = feed.Next(stop);
    if (!next.ok()) {
      if (step > saved_at)  // what was learnt before the records ran out
        AFTERIMAGE_RETURN_IF_ERROR(SaveCheckpoint(options.out, plan, *train_step, token).status());
      return next.status();
    }
    TrainingBatch* const batch = *next;
    if (batch == nullptr) break;
    clock.InputIsReady();

    float loss = 0;
    std::optional<double> gradient_norm;
    if (batch->size > 0) {
      // 3. Student over class token and visible patches, alignment, loss against the targets; 4. gradients.
      AFTERIMAGE_ASSIGN_OR_RETURN(loss, train_step->Gradients(*batch, step));
      if (!std::isfinite(loss)) return ReportNotFinite("loss", plan, *train_step, token, *batch);

      // 5. Clipping, update, average.
      AFTERIMAGE_ASSIGN_OR_RETURN(gradient_norm, train_step->Update(lr));
      if (!std::isfinite(gradient_norm.value_or(0)))
        return ReportNotFinite("norm of the gradients", plan, *train_step, token, *batch);
    }

    // 6. Where we are: all of it is in the next checkpoint.
    token.running_digest = AdvanceDigest(token.running_digest, batch->step, batch->sum);
    token.epoch = batch->epoch;
    token.next_step = batch->step + 1;
    summary.num_failed += batch->num_failed;
    summary.num_skipped += batch->num_skipped;
    summary.last_loss = loss;
    const uint64_t num_samples = batch->size;
    warn(pictures->Offer(*batch));
    feed.Release(batch);
    clock.EndStep();

    // 7. Records of the run.
    epoch_loss.Add(loss, num_samples);
    records->Step({.step = step,
                   .epoch = epoch,
                   .loss = loss,
                   .lr = lr,
                   .images_per_second = clock.step_images_per_second(),
                   .wait_share = clock.step_wait_share(),
                   .num_samples = num_samples,
                   .gradient_norm = gradient_norm});
    if (token.next_step == plan.steps_per_epoch) {
      records->EndOfEpoch(step, token.epoch, token.running_digest.Hex(), epoch_loss.End(step + 1));
      plan.AdvanceEpoch(token);
    }
    if (options.image_every.Falls(step + 1, plan.steps_per_epoch) && pictures->has_samples()) {
      const absl::StatusOr<RgbImage> picture = pictures->Draw(*train_step);
      warn(picture.ok() ? records->Image(step, "samples", *picture) : picture.status());
    }
    records->FlushNowAndThen();
    messages.Print(progress);
    progress.Update((step + 1) * options.batch_size,
                    absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch, loss, lr,
                                    100 * clock.wait_share()));
    if ((step + 1) % checkpoint_every == 0) {
      AFTERIMAGE_RETURN_IF_ERROR(records->Flush());
      AFTERIMAGE_ASSIGN_OR_RETURN(summary.checkpoint, SaveCheckpoint(options.out, plan, *train_step, token));
      saved_at = step + 1;
    }
  }
  progress.Finish();
  AFTERIMAGE_RETURN_IF_ERROR(records->Flush());
  if (step > saved_at || summary.checkpoint.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(summary.checkpoint, SaveCheckpoint(options.out, plan, *train_step, token));
  }

  summary.steps = step;
  summary.stopped = step < plan.last_step;
  summary.images_per_second = clock.images_per_second();
  summary.wait_share = clock.wait_share();
  AFTERIMAGE_RETURN_IF_ERROR(WriteSummary(plan, token, summary));
  return summary;
}

}  // namespace afterimage::trainer
