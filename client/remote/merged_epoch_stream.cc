#include "client/remote/merged_epoch_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr absl::Duration kWatchInterval = absl::Milliseconds(100);
// A hedge is not too late by more than this part of its delay.
constexpr int kLooksPerHedgeDelay = 4;
// A record is hedged when it is waited for this many times longer than others usually are.
constexpr int kUnusualWait = 4;
// What is there already says little of how long one waits: of the frames of a message all but one are.
constexpr absl::Duration kNoWait = absl::Milliseconds(1);
constexpr double kWeightOfWait = 1.0 / 8;
constexpr double kWeightOfNoWait = 1.0 / 64;

}  // namespace

MergedEpochStream::MergedEpochStream(std::shared_ptr<ServerGroup> servers, std::shared_ptr<ServerPace> pace,
                                     std::shared_ptr<HedgeLog> hedge_log,
                                     const MergedEpochSource::Options& options, const EpochRequest& request,
                                     const SetDescription& description,
                                     std::shared_ptr<const Manifest> manifest)
    : servers_(std::move(servers)),
      pace_(std::move(pace)),
      hedge_log_(std::move(hedge_log)),
      options_(options),
      request_(request),
      positions_(request),
      manifest_(std::move(manifest)),
      store_(servers_, request.set_id, description, /*profile=*/nullptr) {
  const RankSlice& slice = request.slice;
  // Rank r of W is divided as ranks rn .. rn + n - 1 of Wn: the same slots, cut into n runs, each known to
  // every server. A run has a slot at least, and credit for a frame.
  const uint64_t least_credit = LargestFrameBytes(description, request.selection);
  const uint64_t most_runs = request.positions.empty() ? servers_->size() : 1;
  const auto num_runs = static_cast<uint32_t>(std::max<uint64_t>(
      1, std::min({most_runs, request.global_batch / slice.num_ranks, request.credit_bytes / least_credit})));
  for (uint32_t i = 0; i < num_runs; ++i) {
    Run run;
    run.request = request;
    run.request.slice = {slice.rank * num_runs + i, slice.num_ranks * num_runs};
    run.request.credit_bytes = request.credit_bytes / num_runs;
    run.slots = SlotsOfRank(run.request.slice, request.global_batch);
    // Ranks begin with different servers where there are more of those.
    run.server = pace_->Choose((slice.rank + i) % servers_->size());
    runs_.push_back(std::move(run));
  }
  if (servers_->size() == 1 || options_.hedge_after == absl::InfiniteDuration()) return;
  hedge_.emplace(
      [this](size_t server, const EpochFrame& frame) {
        return store_.ReadOn(server, frame.key, request_.selection, {request_.order.mask, frame.mask_index});
      },
      [this](uint64_t position) {
        std::lock_guard lock(mutex_);
        answered_position_ = position;
        if (awaited_.stream != nullptr && awaited_.position == position) awaited_.stream->Interrupt();
      });
}

MergedEpochStream::~MergedEpochStream() {
  Cancel();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (watch_.joinable()) watch_.join();
  hedge_.reset();  // before what it reads and calls
}

absl::Status MergedEpochStream::Start() {
  watch_ = std::thread([this] { Watch(); });
  for (size_t i = 0; i < runs_.size(); ++i) {
    const EpochPositions positions(runs_[i].request);
    if (positions.size() > 0) AFTERIMAGE_RETURN_IF_ERROR(OpenRun(i, positions[0], std::nullopt));
  }
  return absl::OkStatus();
}

absl::Status MergedEpochStream::OpenRun(size_t index, uint64_t position, std::optional<size_t> leave) {
  Run& run = runs_[index];
  const EpochRequest rest = RestOfRequest(run.request, position);
  EpochRequest from_step = run.request;
  from_step.step_begin = position / request_.global_batch;
  run.silent_since.reset();
  std::shared_ptr<EpochStream> old;
  {
    std::lock_guard lock(mutex_);
    old = std::exchange(run.stream, nullptr);
    ++run.generation;
  }
  old.reset();  // waits for its end, before another stream begins
  const size_t first = leave.has_value() ? pace_->Choose((*leave + 1) % servers_->size()) : run.server;
  size_t found = 0;
  AFTERIMAGE_RETURN_IF_ERROR(
      servers_->AskEach(first, [&](size_t server, ServerGroup::Server& opened) -> absl::Status {
        absl::StatusOr<std::shared_ptr<EpochStream>> stream = opened.epochs->Open(rest);
        // A server that knows no positions, or not so many, sends the whole step.
        const bool is_refused =
            absl::IsFailedPrecondition(stream.status()) || absl::IsInvalidArgument(stream.status());
        if (is_refused && run.request.positions.empty() && !rest.positions.empty())
          stream = opened.epochs->Open(from_step);
        AFTERIMAGE_RETURN_IF_ERROR(stream.status());
        std::lock_guard lock(mutex_);
        if (cancelled_) (*stream)->Cancel();
        run.stream = *std::move(stream);
        found = server;
        return absl::OkStatus();
      }));
  run.server = found;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<EpochFrame>> MergedEpochStream::Next() {
  if (ended_.has_value()) {
    if (!ended_->ok()) return *ended_;
    return std::nullopt;
  }
  if (index_ == positions_.size()) {
    ended_ = absl::OkStatus();
    return std::nullopt;
  }
  waited_ = {};
  absl::StatusOr<EpochFrame> frame = NextFrame();
  if (frame.ok()) {
    const uint64_t stream_cost = frame->hedged ? 0 : frame->CostBytes();
    const absl::Status asked = AskOthers(run_, *frame);
    if (asked.ok()) {
      std::lock_guard lock(mutex_);
      owed_.push_back({run_, runs_[run_].generation, stream_cost, frame->CostBytes()});
    } else {
      frame = asked;
    }
  }
  if (frame.ok()) {
    frame->waited = waited_;
    frame->server = static_cast<uint32_t>(runs_[run_].server);
    Advance();
    return *std::move(frame);
  }
  ended_ = frame.status();
  return *ended_;
}

absl::StatusOr<EpochFrame> MergedEpochStream::NextFrame() {
  // Each server gets two tries at one frame; what all of them fail at is the caller's to wait for.
  for (size_t tries = 0;;) {
    absl::StatusOr<std::optional<EpochFrame>> frame = WatchedNext(run_);
    {
      std::lock_guard lock(mutex_);
      if (cancelled_) return absl::CancelledError("reading the epoch was cancelled");
    }
    if (absl::IsAborted(frame.status())) {
      if (std::optional<EpochFrame> hedged = TakeHedged()) return *std::move(hedged);
      continue;
    }
    if (frame.ok() && frame->has_value()) {
      if ((*frame)->position == position()) {
        waited_ += (*frame)->waited;
        return *std::move(*frame);
      }
      if ((*frame)->position > position()) {
        return absl::InternalError(absl::StrCat("the server at ", servers_->address(runs_[run_].server),
                                                " sent position ", (*frame)->position, " instead of ",
                                                position()));
      }
      // Already delivered: of the step in which another server was replaced, or hedged.
      waited_ += {StallPart::kOrder, (*frame)->waited.Total()};
      runs_[run_].stream->ReturnCredit((*frame)->CostBytes());
      continue;
    }
    if (frame.ok()) {
      return absl::InternalError(absl::StrCat("the server at ", servers_->address(runs_[run_].server),
                                              " ended the epoch before position ", position()));
    }
    if (!AnotherServerMayAnswer(frame.status()) || ++tries > 2 * servers_->size()) return frame.status();
    const size_t gone = runs_[run_].server;
    const absl::Time begin = absl::Now();
    AFTERIMAGE_RETURN_IF_ERROR(OpenRun(run_, position(), gone));
    waited_ += {StallPart::kOrder, absl::Now() - begin};
    Tell(absl::StrCat(servers_->address(runs_[run_].server), " sends what ", servers_->address(gone),
                      " should have sent (", frame.status().message(), ")"));
  }
}

absl::StatusOr<std::optional<EpochFrame>> MergedEpochStream::WatchedNext(size_t index) {
  Run& run = runs_[index];
  const absl::Time begin = absl::Now();
  const absl::Time since = run.silent_since.value_or(begin);
  const absl::Duration hedge_after = HedgeAfter(index);
  const bool is_late = begin - since >= hedge_after;
  {
    std::lock_guard lock(mutex_);
    if (run.stream == nullptr) return absl::UnavailableError("no server is left");
    if (answered_position_ == position()) return absl::AbortedError("hedged");
    awaited_ = {run.stream, position(), run.server, since, hedge_after};
    impatient_ = false;
    if (is_late) BeginHedge();
  }
  const bool held_up = OthersAreHeldUp();
  absl::StatusOr<std::optional<EpochFrame>> frame = run.stream->Next();
  const absl::Duration took = absl::Now() - begin;
  pace_->Waited(run.server, took);
  run.usual_wait += (took - run.usual_wait) * (took >= kNoWait ? kWeightOfWait : kWeightOfNoWait);
  run.silent_since.reset();
  // Silent also between two hedged frames, where the watch sees nobody wait.
  bool is_silent_for_too_long = false;
  if (absl::IsAborted(frame.status())) {
    run.silent_since = since;
    is_silent_for_too_long = begin + took - since >= options_.patience;
  }
  if (!frame.ok()) {
    waited_ += {StallPart::kOrder, took};
  } else if (held_up && frame->has_value()) {
    StallTimes& waited = (*frame)->waited;
    waited[StallPart::kOrder] += std::exchange(waited[StallPart::kWire], absl::ZeroDuration());
  }
  std::lock_guard lock(mutex_);
  awaited_.stream = nullptr;
  if ((impatient_ && !frame.ok()) || is_silent_for_too_long) {
    return absl::UnavailableError(
        absl::StrCat("it has sent nothing for ", absl::FormatDuration(options_.patience)));
  }
  return frame;
}

absl::Duration MergedEpochStream::HedgeAfter(size_t index) const {
  if (!hedge_.has_value()) return absl::InfiniteDuration();
  absl::Duration usual;
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (i != index) usual += runs_[i].usual_wait / (runs_.size() - 1);
  }
  if (runs_.size() == 1) usual = runs_[index].usual_wait;
  return std::max(options_.hedge_after, kUnusualWait * usual);
}

void MergedEpochStream::BeginHedge() {
  if (!hedge_.has_value() || hedged_position_ == awaited_.position) return;
  const size_t next = (awaited_.server + 1) % servers_->size();
  const size_t chosen = pace_->Choose(next);
  EpochFrame frame = FrameAt(request_, store_.description(), *manifest_, awaited_.position);
  if (!hedge_->Begin(chosen == awaited_.server ? next : chosen, std::move(frame))) return;
  hedged_position_ = awaited_.position;
  hedge_log_->Asked();
}

std::optional<EpochFrame> MergedEpochStream::TakeHedged() {
  std::optional<EpochFrame> frame;
  if (hedge_.has_value()) frame = hedge_->Take(position());
  if (!frame.has_value()) return frame;
  frame->hedged = true;
  hedge_log_->Won(runs_[run_].server);
  return frame;
}

absl::Status MergedEpochStream::AskOthers(size_t index, EpochFrame& frame) {
  const bool is_wanted = frame.state == RecordState::kMissing || frame.state == RecordState::kDamaged;
  if (!is_wanted || servers_->size() == 1) return absl::OkStatus();
  const MaskChoice mask = {request_.order.mask, frame.mask_index};
  const absl::Time begin = absl::Now();
  AFTERIMAGE_ASSIGN_OR_RETURN(
      RecordResult result,
      store_.ReadFrom((runs_[index].server + 1) % servers_->size(), frame.key, request_.selection, mask));
  waited_ += {StallPart::kOrder, absl::Now() - begin};
  if (result.state != RecordState::kMissing) FillFrame(std::move(result), frame);
  return absl::OkStatus();
}

bool MergedEpochStream::OthersAreHeldUp() {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (i != run_ && runs_[i].stream != nullptr && runs_[i].stream->IsHeldUp()) return true;
  }
  return false;
}

void MergedEpochStream::Advance() {
  const uint64_t batch = request_.global_batch;
  const uint64_t step = position() / batch;
  ++index_;
  if (index_ == positions_.size()) return;
  if (request_.positions.empty()) {
    while (position() % batch >= runs_[run_].slots.end) ++run_;
    if (position() % batch < runs_[run_].slots.begin) run_ = 0;
  }
  if (position() / batch != step) ReplaceSlowServers();
}

void MergedEpochStream::ReplaceSlowServers() {
  pace_->Judge();
  for (size_t i = 0; i < runs_.size(); ++i) {
    const size_t slow = runs_[i].server;
    if (!pace_->IsSlow(slow) || pace_->Choose(slow) == slow) continue;
    // What cannot be opened elsewhere is tried again at this run's next turn.
    const uint64_t step = position() / request_.global_batch;
    const uint64_t first =
        request_.positions.empty() ? step * request_.global_batch + runs_[i].slots.begin : position();
    if (!OpenRun(i, first, slow).ok()) continue;
    Tell(absl::StrCat(servers_->address(runs_[i].server), " sends what ", servers_->address(slow),
                      " sends too slowly: readers wait for it and for no other"));
  }
}

void MergedEpochStream::ReturnCredit(uint64_t bytes) {
  std::vector<std::pair<std::shared_ptr<EpochStream>, uint64_t>> credits;
  {
    std::lock_guard lock(mutex_);
    while (bytes > 0 && !owed_.empty()) {
      Owed& oldest = owed_.front();
      const uint64_t paid = std::min(bytes, oldest.still_to_come);
      bytes -= paid;
      oldest.still_to_come -= paid;
      if (oldest.still_to_come > 0) break;
      const Run& run = runs_[oldest.run];
      if (run.stream != nullptr && run.generation == oldest.generation && oldest.stream_cost > 0)
        credits.emplace_back(run.stream, oldest.stream_cost);
      owed_.pop_front();
    }
  }
  for (const auto& [stream, credit] : credits) stream->ReturnCredit(credit);
}

void MergedEpochStream::Cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (const Run& run : runs_) {
    if (run.stream != nullptr) run.stream->Cancel();
  }
}

void MergedEpochStream::Watch() {
  const absl::Duration interval =
      std::clamp(options_.hedge_after / kLooksPerHedgeDelay, absl::Milliseconds(1), kWatchInterval);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, absl::ToChronoMicroseconds(interval), [&] { return stopping_; })) {
    if (awaited_.stream != nullptr) {
      const absl::Duration waited = absl::Now() - awaited_.since;
      if (waited >= options_.patience && !impatient_) {
        impatient_ = true;
        awaited_.stream->Cancel();
      } else if (waited >= awaited_.hedge_after) {
        BeginHedge();
      }
    }
    lock.unlock();
    hedge_log_->TellWhatIsDue();
    lock.lock();
  }
}

void MergedEpochStream::Tell(const std::string& text) const {
  if (options_.message) options_.message(text);
}

}  // namespace afterimage
