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
#include "trainer/run/checkpoint_keeper.h"
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
  if (!options.resume) PruneCheckpoints(options.out, 0);  // a later part would go on from them
  AFTERIMAGE_ASSIGN_OR_RETURN(RunState state, GoOn(plan, *train_step));
  StepToken& token = state.token;
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

  CheckpointKeeper keeper({.folder = options.out, .keep = options.keep, .messages = &messages});
  // How a checkpoint after `steps_done` steps is to be kept.
  const auto keep = [&](uint64_t steps_done) -> CheckpointKeeper::Keep {
    return {.best = state.epochs.best_step() == steps_done,
            .for_good = options.keep_every.Falls(steps_done, plan.steps_per_epoch)};
  };
  if (first_step > 0) warn(keeper.Resume(first_step, keep(first_step)));
  PretrainSummary summary;
  StepClock clock(options.batch_size);
  uint64_t step = first_step;
  for (; step < plan.last_step && !StopRequested(); ++step) {
    // 1. The learning rate, by the fractional epoch.
    const double epoch = static_cast<double>(step) / static_cast<double>(plan.steps_per_epoch);
    const double lr = plan.schedule.At(epoch);

    // 2. Pixels of visible patches and the teacher's features, made ready in the background.
    clock.BeginStep();
    const absl::StatusOr<TrainingBatch*> next = feed.Next(stop);
    if (!next.ok()) {
      // What was learnt before the records ran out.
      warn(keeper.Finish(CheckpointOf(plan, *train_step, state), keep(step)).status());
      return next.status();
    }
    TrainingBatch* const batch = *next;
    if (batch == nullptr) break;
    clock.InputIsReady();

    float loss = 0;
    UpdateResult update;
    if (batch->size > 0) {
      // 3. Student over class token and visible patches, alignment, loss against the targets; 4. gradients.
      AFTERIMAGE_ASSIGN_OR_RETURN(loss, train_step->Gradients(*batch, step));
      if (!std::isfinite(loss)) return ReportNotFinite("loss", plan, *train_step, state, *batch);

      // 5. Clipping, update, average.
      AFTERIMAGE_ASSIGN_OR_RETURN(update, train_step->Update(lr));
      if (update.outcome == UpdateResult::Outcome::kNotFinite)
        return ReportNotFinite("norm of the gradients", plan, *train_step, state, *batch);
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
    state.epochs.Add(loss, num_samples);
    records->Step({.step = step,
                   .epoch = epoch,
                   .loss = loss,
                   .lr = lr,
                   .images_per_second = clock.step_images_per_second(),
                   .wait_share = clock.step_wait_share(),
                   .num_samples = num_samples,
                   .gradient_norm = update.gradient_norm,
                   .loss_scale = train_step->scaler().has_value() ? train_step->scaler()->scale() : 0,
                   .overflow = update.outcome == UpdateResult::Outcome::kSkipped});
    if (token.next_step == plan.steps_per_epoch) {
      records->EndOfEpoch(step, token.epoch, token.running_digest.Hex(), state.epochs.End(step + 1));
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

    // 8. A checkpoint: copied here, written beside the next steps.
    const CheckpointKeeper::Keep kept = keep(step + 1);
    if (options.checkpoint_every.Falls(step + 1, plan.steps_per_epoch) || kept.best || kept.for_good) {
      records->TryFlush();
      warn(keeper.Save(CheckpointOf(plan, *train_step, state), kept));
    }
  }
  progress.Finish();
  const absl::Status recorded = records->Flush();
  const absl::StatusOr<std::string> last = keeper.Finish(CheckpointOf(plan, *train_step, state), keep(step));
  messages.Print(progress);
  if (!last.ok()) return LastStateLost(last.status(), options.out);
  summary.checkpoint = *last;
  AFTERIMAGE_RETURN_IF_ERROR(recorded);

  summary.steps = step;
  summary.stopped = step < plan.last_step;
  summary.images_per_second = clock.images_per_second();
  summary.wait_share = clock.wait_share();
  if (train_step->scaler().has_value()) summary.num_skipped_updates = train_step->scaler()->num_skipped();
  AFTERIMAGE_RETURN_IF_ERROR(WriteSummary(plan, token, summary));
  return summary;
}

}  // namespace afterimage::trainer
