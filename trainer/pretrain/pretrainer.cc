#include "trainer/pretrain/pretrainer.h"

#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "trainer/distributed/agreement.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/pretrain/agreed_step.h"
#include "trainer/pretrain/not_finite.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/run_books.h"
#include "trainer/pretrain/run_folder.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/message_box.h"
#include "trainer/run/step_clock.h"
#include "trainer/run/step_trace.h"

namespace afterimage::trainer {
namespace {

std::string StartMessage(const PretrainPlan& plan) {
  // K view seeds give each view every K-th epoch; without bound none repeats.
  const uint32_t num_seeds = plan.input->num_view_seeds();
  const double repeats = num_seeds > 0 ? static_cast<double>(plan.options.epochs) / num_seeds : 1.0;
  return absl::StrFormat("%s; %d steps per epoch, each view seen %.3g times in %d epochs",
                         plan.input->summary(), plan.steps_per_epoch, repeats, plan.options.epochs);
}

// The stall ledger of a step.
std::vector<StallRow> StallsOf(const AgreedStep& step, const ServersOfRanks& servers) {
  std::vector<StallRow> rows;
  for (uint32_t rank = 0; rank < step.waited.size(); ++rank)
    AppendStallRows(rank, step.waited[rank], servers[rank], rows);
  return rows;
}

// Once all its steps are in, and at the end of the run. A trace that cannot be written ends nothing.
void WriteTrace(const StepTrace& trace, Progress& progress) {
  const absl::Status written = trace.Write();
  if (!written.ok()) {
    std::fprintf(stderr, "warning: the trace is not written: %s\n", std::string(written.message()).c_str());
  } else {
    progress.Message(absl::StrCat("trace in ", trace.file(), ": ", trace.SummaryText()));
  }
}

absl::StatusOr<PretrainSummary> Run(const PretrainOptions& options, Communicator& ranks) {
  const bool leads = ranks.rank() == 0;  // writes and prints for all
  const absl::StatusOr<PretrainPlan> planned = PlanPretraining(options, {ranks.rank(), ranks.num_ranks()});
  AFTERIMAGE_RETURN_IF_ERROR(AgreeOnStatus(ranks, planned.status()));
  const PretrainPlan& plan = *planned;
  AFTERIMAGE_RETURN_IF_ERROR(AgreeOnValues(ranks, SharedByRanks(plan)));
  AFTERIMAGE_ASSIGN_OR_RETURN(const ServersOfRanks servers, GatherServers(ranks, plan.input->servers()));
  StepTrace trace({.path = options.trace,
                   .rank = ranks.rank(),
                   .num_ranks = ranks.num_ranks(),
                   .num_steps = options.trace_steps});
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto train_step, TrainStep::Create(plan, &ranks, &trace));
  if (leads) AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options.out));
  if (leads && !options.resume) PruneCheckpoints(options.out, 0);  // a later part would go on from them
  AFTERIMAGE_ASSIGN_OR_RETURN(RunState state, GoOn(plan, *train_step, ranks));
  StepToken& token = state.token;
  const uint64_t first_step = plan.StepOf(token);
  Progress progress({.label = "pretrain",
                     .unit = "images",
                     .total = plan.last_step * options.batch_size,
                     .already_done = first_step * options.batch_size,
                     .style = leads ? Progress::Style::kAutomatic : Progress::Style::kSilent});
  MessageBox messages;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto books, RunBooks::Open(plan, state, &progress, &messages));
  if (ranks.num_ranks() > 1) progress.Message(ranks.Description());
  progress.Message(StartMessage(plan));
  for (const std::string& note : plan.notes) progress.Message(note);
  BatchFeed::Options feed_options = FeedFrom(plan, token);
  feed_options.message = [&messages, &ranks, leads](const std::string& text) {
    if (leads) return messages.Put(text);
    std::fprintf(stderr, "rank %u: %s\n", ranks.rank(), text.c_str());
  };
  BatchFeed feed(plan.input->source(), std::move(feed_options));
  const auto stop = [&] {
    messages.Print(progress);
    return StopRequested();
  };
  // Keeps what was learnt before the records ran out, or a rank went.
  const auto finish_and_return = [&](const absl::Status& error) {
    const absl::Status saved = books->Finish(state, *train_step).status();
    if (!saved.ok()) progress.Message(absl::StrCat("warning: ", saved.message()));
    return error;
  };

  PretrainSummary summary;
  StepClock clock(options.batch_size);
  HedgeCounts hedged_before;  // by this rank
  uint64_t step = first_step;
  for (; step < plan.last_step; ++step) {
    // 1. The learning rate, by the fractional epoch.
    const double epoch = static_cast<double>(step) / static_cast<double>(plan.steps_per_epoch);
    const double lr = plan.schedule.At(epoch);

    // 2. Pixels of visible patches and the teacher's features, made ready in the background; all ranks go on,
    // or none.
    trace.BeginStep(step);
    ranks.SetActivity(absl::StrCat("step ", step, ": input"));
    clock.BeginStep();
    const absl::StatusOr<TrainingBatch*> next = [&] {
      const TracePhase phase(&trace, "input");
      return feed.Next(stop);
    }();
    clock.InputIsReady();
    ranks.SetActivity(absl::StrCat("step ", step));
    const absl::StatusOr<AgreedStep> agreed = [&] {
      const TracePhase phase(&trace, "agree on the step");
      const HedgeCounts hedged = plan.input->hedges();
      const HedgeCounts since = hedged - std::exchange(hedged_before, hedged);
      return AgreeOnStep(ranks, servers, next, StopRequested(), feed.last_wait(), since);
    }();
    if (!agreed.ok()) return finish_and_return(agreed.status());
    if (agreed->stop) break;
    TrainingBatch* const batch = *next;

    float loss = 0;
    UpdateResult update;
    if (agreed->num_samples > 0) {
      // 3. Student over class token and visible patches, alignment, loss against the targets; 4. gradients.
      const absl::StatusOr<float> computed = train_step->Gradients(*batch, step, agreed->num_samples);
      if (absl::IsUnavailable(computed.status())) return finish_and_return(computed.status());
      AFTERIMAGE_ASSIGN_OR_RETURN(loss, computed);
      if (!std::isfinite(loss)) return ReportNotFinite("loss", plan, *train_step, state, *batch, ranks);

      // 5. Clipping, update, average.
      AFTERIMAGE_ASSIGN_OR_RETURN(update, train_step->Update(lr));
      if (update.outcome == UpdateResult::Outcome::kNotFinite)
        return ReportNotFinite("norm of the gradients", plan, *train_step, state, *batch, ranks);
    }

    // 6. Where we are: all of it is in the next checkpoint.
    token.running_digest = AdvanceDigest(token.running_digest, batch->step, agreed->sum);
    token.epoch = batch->epoch;
    token.next_step = batch->step + 1;
    summary.num_failed += agreed->num_failed;
    summary.num_skipped += agreed->num_skipped;
    summary.num_computed += agreed->num_computed;
    summary.hedges += agreed->hedges;
    summary.last_loss = loss;
    books->Offer(*batch);
    feed.Release(batch);
    clock.EndStep();

    // 7. Records of the run, pictures, checkpoints.
    {
      const TracePhase phase(&trace, "records");
      ranks.SetActivity(absl::StrCat("step ", step, ": records and checkpoint"));
      state.epochs.Add(loss, agreed->num_samples);
      books->Step({.step = step,
                   .epoch = epoch,
                   .loss = loss,
                   .lr = lr,
                   .images_per_second = clock.step_images_per_second(),
                   .wait_share = clock.step_wait_share(),
                   .stalls = StallsOf(*agreed, servers),
                   .step_seconds = clock.step_seconds(),
                   .hedges = agreed->hedges,
                   .num_samples = agreed->num_samples,
                   .num_computed = agreed->num_computed,
                   .gradient_norm = update.gradient_norm,
                   .loss_scale = train_step->scaler().has_value() ? train_step->scaler()->scale() : 0,
                   .overflow = update.outcome == UpdateResult::Outcome::kSkipped});
      if (token.next_step == plan.steps_per_epoch) {
        AFTERIMAGE_RETURN_IF_ERROR(AgreeOnValues(ranks, {{"running_digest", token.running_digest.Hex()}}));
        books->EndOfEpoch(step, token.epoch, token.running_digest.Hex(), state.epochs.End(step + 1));
        plan.AdvanceEpoch(token);
      }
      AFTERIMAGE_RETURN_IF_ERROR(books->AfterStep(state, *train_step));
      messages.Print(progress);
      progress.Update((step + 1) * options.batch_size,
                      absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch, loss, lr,
                                      100 * clock.wait_share()));
    }
    trace.EndStep();
    if (trace.just_completed()) WriteTrace(trace, progress);
  }
  progress.Finish();
  if (!options.trace.empty() && !trace.complete()) WriteTrace(trace, progress);
  ranks.SetActivity("the last checkpoint");
  AFTERIMAGE_ASSIGN_OR_RETURN(summary.checkpoint, books->Finish(state, *train_step));

  summary.steps = step;
  summary.stopped = step < plan.last_step;
  summary.images_per_second = clock.images_per_second();
  summary.wait_share = clock.wait_share();
  if (train_step->scaler().has_value()) summary.num_skipped_updates = train_step->scaler()->num_skipped();
  if (leads) AFTERIMAGE_RETURN_IF_ERROR(WriteSummary(plan, token, summary));
  AFTERIMAGE_RETURN_IF_ERROR(ranks.Barrier());  // nobody has ended well before all is written
  return summary;
}

}  // namespace

absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options, Communicator& communicator) {
  return LeaveWith(communicator, Run(options, communicator));
}

absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options) {
  SelfCommunicator alone;
  return Pretrain(options, alone);
}

}  // namespace afterimage::trainer
