#include "client/remote/merged_epoch_stream.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr std::chrono::milliseconds kWatchInterval(100);

}  // namespace

MergedEpochStream::MergedEpochStream(std::shared_ptr<ServerGroup> servers, std::shared_ptr<ServerPace> pace,
                                     const MergedEpochSource::Options& options, const EpochRequest& request,
                                     const SetDescription& description)
    : servers_(std::move(servers)),
      pace_(std::move(pace)),
      options_(options),
      request_(request),
      store_(servers_, request.set_id, description, /*profile=*/nullptr),
      step_end_(request.step_end) {
  const RankSlice& slice = request.slice;
  // Rank r of W is divided as ranks rn .. rn + n - 1 of Wn: the same slots, cut into n runs, each known to
  // every server. A run has a slot at least, and credit for a frame.
  const uint64_t least_credit = LargestFrameBytes(description, request.selection);
  const auto num_runs = static_cast<uint32_t>(
      std::max<uint64_t>(1, std::min({uint64_t{servers_->size()}, request.global_batch / slice.num_ranks,
                                      request.credit_bytes / least_credit})));
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
  position_ = request.step_begin * request.global_batch + runs_.front().slots.begin;
}

MergedEpochStream::~MergedEpochStream() {
  Cancel();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (watch_.joinable()) watch_.join();
}

absl::Status MergedEpochStream::Start() {
  watch_ = std::thread([this] { Watch(); });
  for (size_t i = 0; i < runs_.size(); ++i) {
    AFTERIMAGE_RETURN_IF_ERROR(OpenRun(i, request_.step_begin, std::nullopt));
  }
  return absl::OkStatus();
}

absl::Status MergedEpochStream::OpenRun(size_t index, uint64_t step, std::optional<size_t> leave) {
  Run& run = runs_[index];
  run.request.step_begin = step;
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
        AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<EpochStream> stream, opened.epochs->Open(run.request));
        std::lock_guard lock(mutex_);
        if (cancelled_) stream->Cancel();
        run.stream = std::move(stream);
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
  if (position_ >= step_end_ * request_.global_batch) {
    ended_ = absl::OkStatus();
    return std::nullopt;
  }
  waited_ = {};
  absl::StatusOr<EpochFrame> frame = NextFrame();
  if (frame.ok()) {
    const uint64_t stream_cost = frame->CostBytes();
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
    const uint64_t step = position_ / request_.global_batch;
    absl::StatusOr<std::optional<EpochFrame>> frame = WatchedNext(run_);
    {
      std::lock_guard lock(mutex_);
      if (cancelled_) return absl::CancelledError("reading the epoch was cancelled");
    }
    if (frame.ok() && frame->has_value()) {
      if ((*frame)->position == position_) {
        waited_ += (*frame)->waited;
        return *std::move(*frame);
      }
      if ((*frame)->position > position_) {
        return absl::InternalError(absl::StrCat("the server at ", servers_->address(runs_[run_].server),
                                                " sent position ", (*frame)->position, " instead of ",
                                                position_));
      }
      // Of the step in which another server was replaced: already delivered.
      waited_ += {StallPart::kOrder, (*frame)->waited.Total()};
      runs_[run_].stream->ReturnCredit((*frame)->CostBytes());
      continue;
    }
    if (frame.ok()) {
      return absl::InternalError(absl::StrCat("the server at ", servers_->address(runs_[run_].server),
                                              " ended the epoch before position ", position_));
    }
    if (!AnotherServerMayAnswer(frame.status()) || ++tries > 2 * servers_->size()) return frame.status();
    const size_t gone = runs_[run_].server;
    const absl::Time begin = absl::Now();
    AFTERIMAGE_RETURN_IF_ERROR(OpenRun(run_, step, gone));
    waited_ += {StallPart::kOrder, absl::Now() - begin};
    Tell(absl::StrCat(servers_->address(runs_[run_].server), " sends what ", servers_->address(gone),
                      " should have sent (", frame.status().message(), ")"));
  }
}

absl::StatusOr<std::optional<EpochFrame>> MergedEpochStream::WatchedNext(size_t index) {
  Run& run = runs_[index];
  const absl::Time begin = absl::Now();
  {
    std::lock_guard lock(mutex_);
    if (run.stream == nullptr) return absl::UnavailableError("no server is left");
    awaited_ = run.stream;
    awaited_since_ = begin;
    impatient_ = false;
  }
  const bool held_up = OthersAreHeldUp();
  absl::StatusOr<std::optional<EpochFrame>> frame = run.stream->Next();
  const absl::Duration took = absl::Now() - begin;
  pace_->Waited(run.server, took);
  if (!frame.ok()) {
    waited_ += {StallPart::kOrder, took};
  } else if (held_up && frame->has_value()) {
    StallTimes& waited = (*frame)->waited;
    waited[StallPart::kOrder] += std::exchange(waited[StallPart::kWire], absl::ZeroDuration());
  }
  std::lock_guard lock(mutex_);
  awaited_ = nullptr;
  if (impatient_ && !frame.ok()) {
    return absl::UnavailableError(
        absl::StrCat("it has sent nothing for ", absl::FormatDuration(options_.patience)));
  }
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
  ++position_;
  const uint64_t slot = position_ % request_.global_batch;
  const uint64_t end = runs_[run_].slots.end % request_.global_batch;
  if (slot != end) return;
  if (run_ + 1 < runs_.size()) {
    ++run_;
    return;
  }
  run_ = 0;
  const uint64_t own = runs_.back().slots.end - runs_.front().slots.begin;
  position_ += request_.global_batch - own;
  ReplaceSlowServers();
}

void MergedEpochStream::ReplaceSlowServers() {
  pace_->Judge();
  for (size_t i = 0; i < runs_.size(); ++i) {
    const size_t slow = runs_[i].server;
    if (!pace_->IsSlow(slow) || pace_->Choose(slow) == slow) continue;
    // What cannot be opened elsewhere is tried again at this run's next turn.
    if (!OpenRun(i, position_ / request_.global_batch, slow).ok()) continue;
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
      if (run.stream != nullptr && run.generation == oldest.generation)
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
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kWatchInterval, [&] { return stopping_; })) {
    if (awaited_ == nullptr || impatient_ || absl::Now() - awaited_since_ < options_.patience) continue;
    impatient_ = true;
    awaited_->Cancel();
  }
}

void MergedEpochStream::Tell(const std::string& text) const {
  if (options_.message) options_.message(text);
}

}  // namespace afterimage
