#include "client/cli/epoch_bench.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/read_positions.h"
#include "core/base/process_usage.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/order/running_digest.h"

namespace afterimage::cli {
namespace {

constexpr std::chrono::milliseconds kReportInterval(100);

struct Counts {
  uint64_t missing = 0, damaged = 0, failed = 0, padding = 0;
  std::map<uint32_t, uint64_t> hedged;  // by server

  void Add(const Counts& other) {
    for (const auto& [server, count] : other.hedged) hedged[server] += count;
    missing += other.missing;
    damaged += other.damaged;
    failed += other.failed;
    padding += other.padding;
  }
  void Count(const EpochFrame& frame) {
    padding += frame.padding;
    if (frame.hedged) ++hedged[frame.server.value_or(0)];
    missing += frame.state == RecordState::kMissing;
    damaged += frame.state == RecordState::kDamaged;
    failed += frame.state == RecordState::kFailed;
  }
};

// What the ranks of an epoch share: the first error, and how far they are.
struct Shared {
  std::atomic<uint64_t> records = 0;
  std::atomic<uint64_t> bytes = 0;
  std::mutex mutex;
  std::condition_variable changed;
  uint32_t num_running = 0;
  absl::Status status;

  void Fail(const absl::Status& failure) {
    std::lock_guard lock(mutex);
    if (status.ok()) status = failure;
  }
  bool failed() {
    std::lock_guard lock(mutex);
    return !status.ok();
  }
};

// One rank's pass over one epoch.
struct RankPass {
  std::vector<StepSum> sums;  // of its slots, per step
  Counts counts;
  absl::Duration first_batch;
  absl::Duration opening, waiting, working;
  Stall stall;  // of opening and waiting
};

// Adds a wait of this length for a frame: what the frame says of it, and the rest.
void AddWait(absl::Duration waiting, const EpochFrame& frame, Stall& stall) {
  const absl::Duration explained = std::min(waiting, frame.waited.Total());
  stall.Add(frame.server, frame.waited.ScaledTo(explained));
  stall.Add(std::nullopt, {StallPart::kDecode, waiting - explained});
}

absl::Status ReadSlice(EpochSource& source, const EpochRequest& request, bool verify, Shared& shared,
                       RankPass& pass) {
  const absl::Time start = absl::Now();
  absl::Time last = start;
  // What has passed since the last call of this.
  const auto lap = [&last] {
    const absl::Time now = absl::Now();
    return now - std::exchange(last, now);
  };
  const SlotRange slots = SlotsOfRank(request.slice, request.global_batch);
  pass.sums.resize(request.step_end - request.step_begin);
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<EpochStream> stream, source.Open(request));
  pass.opening += lap();
  pass.stall.Add(std::nullopt, {StallPart::kQueue, pass.opening});
  uint64_t num_read = 0;
  while (true) {
    if (StopRequested() || shared.failed()) return absl::CancelledError("stopped");
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<EpochFrame> frame, stream->Next());
    const absl::Duration waiting = lap();
    pass.waiting += waiting;
    if (!frame.has_value()) {
      pass.stall.Add(std::nullopt, {StallPart::kWire, waiting});  // for the end to be told
      return absl::OkStatus();
    }
    AddWait(waiting, *frame, pass.stall);
    if (frame->step < request.step_begin || frame->step >= request.step_end) {
      return absl::InternalError(absl::StrCat("the source sent position ", frame->position,
                                              ", which is in none of the steps asked for"));
    }
    if (verify && frame->state == RecordState::kOk) AFTERIMAGE_RETURN_IF_ERROR(VerifyBlock(*frame));
    pass.sums[frame->step - request.step_begin].Add(
        SampleSum(frame->position, frame->key, frame->mask_index, frame->state, frame->record_digest));
    pass.counts.Count(*frame);
    shared.records.fetch_add(1, std::memory_order_relaxed);
    shared.bytes.fetch_add(frame->block.bytes.size(), std::memory_order_relaxed);
    if (++num_read == slots.end - slots.begin) pass.first_batch = absl::Now() - start;
    stream->ReturnCredit(frame->CostBytes());
    pass.working += lap();
  }
}

// Says that no record has come for long.
class SilenceWatch {
 public:
  explicit SilenceWatch(const EpochBenchOptions& options) : options_(options) {}

  void Look(uint64_t num_records) {
    const absl::Time now = absl::Now();
    if (num_records != num_records_) {
      num_records_ = num_records;
      since_ = next_message_ = now;
      next_message_ += options_.message_after;
    }
    if (now < next_message_ || !options_.message) return;
    next_message_ = now + options_.message_after;
    options_.message(absl::StrCat("waiting since ",
                                  absl::FormatTime("%H:%M:%S", since_, absl::LocalTimeZone()),
                                  " for the next record of ", options_.cache));
  }

 private:
  const EpochBenchOptions& options_;
  uint64_t num_records_ = 0;
  absl::Time since_ = absl::Now();
  absl::Time next_message_ = since_ + options_.message_after;
};

// The ranks of one epoch, a thread each; reports from this one.
absl::StatusOr<std::vector<RankPass>> ReadEpoch(const std::vector<EpochSource*>& sources,
                                                const EpochRequest& request, const EpochBenchOptions& options,
                                                Shared& shared) {
  std::vector<RankPass> passes(options.num_ranks);
  std::vector<std::thread> threads;
  shared.num_running = options.num_ranks;
  for (uint32_t rank = 0; rank < options.num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      EpochRequest slice = request;
      slice.slice = {rank, options.num_ranks};
      const absl::Status status = ReadSlice(*sources[rank], slice, options.verify, shared, passes[rank]);
      if (!status.ok()) shared.Fail(status);
      std::lock_guard lock(shared.mutex);
      if (--shared.num_running == 0) shared.changed.notify_all();
    });
  }
  {
    SilenceWatch silence(options);
    std::unique_lock lock(shared.mutex);
    while (!shared.changed.wait_for(lock, kReportInterval, [&] { return shared.num_running == 0; })) {
      lock.unlock();
      if (options.progress) options.progress(shared.records, shared.bytes);
      silence.Look(shared.records);
      lock.lock();
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (StopRequested())
    return absl::CancelledError(absl::StrCat("stopped after ", shared.records.load(), " records"));
  AFTERIMAGE_RETURN_IF_ERROR(shared.status);
  return passes;
}

Digest128 DigestOf(const EpochRequest& request, const std::vector<RankPass>& passes) {
  Digest128 digest = EpochStartDigest(request.set_id, request.order.Id(), request.epoch);
  for (uint64_t step = 0; step < request.step_end; ++step) {
    StepSum sum;
    for (const RankPass& pass : passes) sum.Add(pass.sums[step]);
    digest = AdvanceDigest(digest, step, sum);
  }
  return digest;
}

}  // namespace

absl::StatusOr<EpochBenchReport> RunEpochBench(const EpochBenchOptions& options) {
  EpochRequest request = options.request;
  const uint64_t all_steps = StepsPerEpoch(request.order, request.global_batch);
  request.step_begin = 0;
  request.step_end = options.steps == 0 ? all_steps : std::min(options.steps, all_steps);
  if (request.step_end == 0) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", request.global_batch, " is more than the ",
                                                   request.order.num_occurrences,
                                                   " pictures of the data set: no step to read"));
  }
  std::vector<OpenedCache> caches;
  std::vector<EpochSource*> sources;
  for (uint32_t rank = 0; rank < options.num_ranks; ++rank) {
    if (caches.empty() || caches.front().is_remote) {
      AFTERIMAGE_ASSIGN_OR_RETURN(
          caches.emplace_back(),
          OpenCache(options.cache, {.access = options.access, .hedge_after = options.hedge_after}));
    }
    sources.push_back(caches.back().epoch_source.get());
  }
  const auto& server_usage = caches.front().server_usage;

  EpochBenchReport report;
  Counts counts;
  Shared shared;
  std::vector<Stall> stalls(options.num_ranks);
  ServerUsage server_before;
  if (server_usage) {
    AFTERIMAGE_ASSIGN_OR_RETURN(server_before, server_usage());
  }
  const double cpu_before = OwnUsage().cpu_seconds;
  const absl::Time start = absl::Now();
  for (uint64_t i = 0; i < options.num_epochs; ++i) {
    request.epoch = options.request.epoch + i;
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<RankPass> passes,
                                ReadEpoch(sources, request, options, shared));
    report.digests.push_back({request.epoch, request.step_end, DigestOf(request, passes)});
    for (const RankPass& pass : passes) {
      counts.Add(pass.counts);
      report.first_batch = std::max(report.first_batch, pass.first_batch);
      report.opening += pass.opening;
      report.waiting += pass.waiting;
      report.working += pass.working;
    }
    for (uint32_t rank = 0; rank < options.num_ranks; ++rank) stalls[rank] += passes[rank].stall;
  }
  report.wall = absl::Now() - start;
  const ProcessUsage own = OwnUsage();
  report.client_cpu_seconds = own.cpu_seconds - cpu_before;
  report.client_peak_bytes = own.peak_resident_bytes;
  if (server_usage) {
    AFTERIMAGE_ASSIGN_OR_RETURN(report.server, server_usage());
    report.server->process.cpu_seconds -= server_before.process.cpu_seconds;
    report.server->credit_wait_seconds -= server_before.credit_wait_seconds;
    report.server->store_wait_seconds -= server_before.store_wait_seconds;
    report.server->socket_wait_seconds -= server_before.socket_wait_seconds;
    report.server->queue_wait_seconds -= server_before.queue_wait_seconds;
    report.server->sent_bytes -= server_before.sent_bytes;
    report.server->shared_bytes -= server_before.shared_bytes;
  }
  for (uint32_t rank = 0; rank < options.num_ranks; ++rank)
    AppendStallRows(rank, stalls[rank], caches.front().servers, report.stalls);
  report.records = shared.records;
  report.bytes = shared.bytes;
  report.missing = counts.missing;
  report.damaged = counts.damaged;
  report.failed = counts.failed;
  report.padding = counts.padding;
  for (const auto& [server, count] : counts.hedged) report.hedged[caches.front().servers.at(server)] += count;
  for (const OpenedCache& cache : caches) {
    if (cache.hedges) report.hedges += cache.hedges();
  }
  return report;
}

}  // namespace afterimage::cli
