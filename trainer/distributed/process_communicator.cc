#include "trainer/distributed/process_communicator.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/vit/torch_status.h"
#include "trainer/distributed/c10d.h"
#include "trainer/distributed/rank_monitor.h"
#include "trainer/distributed/rendezvous.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/distributed/sockets.h"

namespace afterimage::trainer {
namespace {

std::string Address(const RankLaunch& launch) { return absl::StrCat(launch.host, ":", launch.port); }

class ProcessCommunicator : public Communicator {
 public:
  ProcessCommunicator(const RankLaunch& launch, const ConnectOptions& options,
                      std::shared_ptr<TcpRankStore> store, std::shared_ptr<RankMonitor> monitor,
                      std::unique_ptr<C10dCollectives> collectives)
      : launch_(launch),
        options_(options),
        store_(std::move(store)),
        monitor_(std::move(monitor)),
        collectives_(std::move(collectives)) {}
  ~ProcessCommunicator() override {
    monitor_->Stop();
    if (!failure_.ok()) collectives_->GiveUp();
  }

  uint32_t rank() const override { return launch_.rank; }
  uint32_t num_ranks() const override { return launch_.num_ranks; }
  std::string Description() const override {
    return absl::StrCat(num_ranks(), " ranks (", launch_.origin, "), rendezvous at ", Address(launch_));
  }

  absl::StatusOr<std::unique_ptr<PendingSum>> StartSum(const at::Tensor& tensor) override {
    AFTERIMAGE_RETURN_IF_ERROR(failure_);
    AFTERIMAGE_ASSIGN_OR_RETURN(auto work, Noted(collectives_->Sum(tensor)));
    return std::make_unique<Sum>(this, std::move(work));
  }

  absl::Status Broadcast(const at::Tensor& tensor, uint32_t root) override {
    AFTERIMAGE_RETURN_IF_ERROR(failure_);
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto work, Noted(collectives_->Broadcast(tensor, root)));
    return Wait(*work).status();
  }

  absl::Status Barrier() override {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto sum, StartSum(at::zeros({1})));
    return sum->Wait();
  }

  absl::StatusOr<std::vector<std::string>> Gather(const std::string& text) override {
    AFTERIMAGE_RETURN_IF_ERROR(failure_);
    const auto row = [](int64_t size) { return at::zeros({size}, at::kByte); };
    // First the lengths, then the texts, all as long as the longest.
    std::vector<at::Tensor> lengths;
    for (uint32_t rank = 0; rank < num_ranks(); ++rank) lengths.push_back(at::zeros({1}, at::kLong));
    const at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
    AFTERIMAGE_RETURN_IF_ERROR(GatherTensors(length, lengths));
    int64_t longest = 1;
    for (const at::Tensor& one : lengths) longest = std::max(longest, one.item<int64_t>());
    const at::Tensor mine = row(longest);
    std::memcpy(mine.data_ptr(), text.data(), text.size());
    std::vector<at::Tensor> rows;
    for (uint32_t rank = 0; rank < num_ranks(); ++rank) rows.push_back(row(longest));
    AFTERIMAGE_RETURN_IF_ERROR(GatherTensors(mine, rows));
    std::vector<std::string> texts;
    for (uint32_t rank = 0; rank < num_ranks(); ++rank) {
      texts.emplace_back(static_cast<const char*>(rows[rank].data_ptr()),
                         static_cast<size_t>(lengths[rank].item<int64_t>()));
    }
    return texts;
  }

  void SetActivity(absl::string_view activity) override { monitor_->SetActivity(activity); }
  void Leave(const absl::Status& status) override { monitor_->Leave(status); }

 private:
  class Sum : public PendingSum {
   public:
    Sum(ProcessCommunicator* owner, std::unique_ptr<C10dWork> work) : owner_(owner), work_(std::move(work)) {}
    absl::Status Wait() override {
      AFTERIMAGE_ASSIGN_OR_RETURN(finished_, owner_->Wait(*work_));
      return absl::OkStatus();
    }
    absl::Time finished() const override { return finished_; }

   private:
    ProcessCommunicator* const owner_;
    const std::unique_ptr<C10dWork> work_;
    absl::Time finished_;
  };

  absl::Status GatherTensors(const at::Tensor& input, const std::vector<at::Tensor>& outputs) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto work, Noted(collectives_->Gather(input, outputs)));
    return Wait(*work).status();
  }

  // An error of a call ends the communicator, as one of a wait does.
  template <typename T>
  absl::StatusOr<T> Noted(absl::StatusOr<T> result) {
    if (!result.ok()) failure_ = result.status();
    return result;
  }

  // The watchdog: returns when the work is done, or when it cannot be done any more.
  absl::StatusOr<absl::Time> Wait(C10dWork& work) {
    AFTERIMAGE_RETURN_IF_ERROR(failure_);
    constexpr absl::Duration kLook = absl::Milliseconds(500);
    constexpr absl::Duration kNotice = absl::Seconds(30);
    C10dWork::Outcome outcome = work.WaitFor(absl::ZeroDuration());
    if (!outcome.done) {
      monitor_->SetWaiting(true);
      const absl::Time begin = absl::Now();
      absl::Time last_message = begin;
      while (failure_.ok()) {
        outcome = work.WaitFor(kLook);
        if (outcome.done) break;
        failure_ = monitor_->Verdict();
        const absl::Time now = absl::Now();
        const std::string waited = absl::FormatDuration(absl::Trunc(now - begin, absl::Seconds(1)));
        if (failure_.ok() && now - begin >= options_.rank_timeout) {
          failure_ = absl::UnavailableError(
              absl::StrCat("waited ", waited, " (--rank-timeout) for ", monitor_->Awaited()));
        }
        if (options_.message && now - last_message >= kNotice) {
          last_message = now;
          options_.message(
              absl::StrCat("rank ", rank(), " has waited ", waited, " for ", monitor_->Awaited()));
        }
      }
      monitor_->SetWaiting(false);
    }
    if (failure_.ok() && !outcome.error.empty()) failure_ = monitor_->Explain(outcome.error);
    AFTERIMAGE_RETURN_IF_ERROR(failure_);
    return outcome.finished;
  }

  const RankLaunch launch_;
  const ConnectOptions options_;
  const std::shared_ptr<TcpRankStore> store_;  // last of all where it is kept here
  const std::shared_ptr<RankMonitor> monitor_;
  const std::unique_ptr<C10dCollectives> collectives_;
  absl::Status failure_;  // the first
};

// Waits until somebody listens at the rendezvous.
absl::Status WaitForStore(const RankLaunch& launch, const ConnectOptions& options) {
  const absl::Time begin = absl::Now();
  absl::Time last_message = begin;
  while (true) {
    const absl::Status status = TryConnect(launch.host, launch.port, absl::Seconds(5));
    if (status.ok()) return status;
    if (absl::IsInvalidArgument(status)) return WithContext(status, "the rendezvous");
    const absl::Time now = absl::Now();
    const std::string awaited = launch.store_exists ? "torchrun's store" : "rank 0";
    if (now - begin >= options.rendezvous_timeout) {
      return absl::DeadlineExceededError(
          absl::StrCat(awaited, " does not answer at ", Address(launch), " after ",
                       absl::FormatDuration(options.rendezvous_timeout), " (", status.message(),
                       "): was it started, with the same --rendezvous, and does a firewall let it through?"));
    }
    if (options.message && now - last_message >= absl::Seconds(10)) {
      last_message = now;
      options.message(absl::StrCat("rank ", launch.rank, " waits for ", awaited, " at ", Address(launch),
                                   " (", status.message(), ")"));
    }
    if (WaitForStop(200)) return absl::CancelledError("stopped while waiting for the other ranks");
  }
}

// Where the other ranks reach this one. A name of this machine that stands for its loopback is of no use to
// others: then the address by which we reach one of them.
absl::StatusOr<std::string> MyAddress(const RankPeer& me, const std::vector<RankPeer>& peers) {
  const auto loopback = [](const std::string& address) {
    return absl::StartsWith(address, "127.") || address == "::1";
  };
  if (!loopback(me.address)) return me.address;
  for (const RankPeer& peer : peers) {
    if (peer.host != me.host && !loopback(peer.address)) return AddressTowards(peer.address);
  }
  return me.address;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectRanks(const RankLaunch& launch,
                                                           const ConnectOptions& options) {
  if (launch.num_ranks == 1) return std::make_unique<SelfCommunicator>();
  TcpRankStore::Options store_options;
  store_options.host = launch.host;
  store_options.port = launch.port;
  store_options.prefix = absl::StrCat("afterimage/", launch.session);
  const bool keeps_store = launch.rank == 0 && !launch.store_exists;
  if (keeps_store) {
    const absl::StatusOr<BoundSocket> bound = BindTcp(launch.port);
    if (!bound.ok()) {
      return WithContext(
          absl::Status(bound.status().code(),
                       absl::StrCat(bound.status().message(),
                                    ": give all ranks another --rendezvous HOST:PORT (or MASTER_PORT)")),
          "rank 0 cannot listen for the others");
    }
    store_options.listen_descriptor = bound->descriptor;
  } else {
    AFTERIMAGE_RETURN_IF_ERROR(WaitForStore(launch, options));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<TcpRankStore> store, TcpRankStore::Open(store_options));

  RankPeer me;
  me.rank = launch.rank;
  me.host = NameOfThisMachine();
  me.pid = getpid();
  me.build = ThisBuild();
  AFTERIMAGE_ASSIGN_OR_RETURN(me.address, AddressTowards(launch.host));
  RendezvousOptions rendezvous;
  rendezvous.timeout = options.rendezvous_timeout;
  rendezvous.message = options.message;
  const absl::StatusOr<std::vector<RankPeer>> met = MeetRanks(*store, launch, me, rendezvous);
  if (!met.ok()) {
    if (keeps_store) absl::SleepFor(absl::Seconds(2));  // the others read why
    return met.status();
  }
  const std::vector<RankPeer>& peers = *met;

  // Beats have a connection of their own: a call that blocks on the other must not silence them.
  store_options.listen_descriptor = -1;
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<RankStore> beats, TcpRankStore::Open(store_options));
  RankMonitor::Options monitoring;
  monitoring.interval = std::max(absl::Seconds(1), absl::Milliseconds(15) * launch.num_ranks);
  monitoring.lost = options.lost;
  monitoring.keeps_store = keeps_store;
  monitoring.store_owner = launch.store_exists ? "torchrun's agent" : peers[0].Text();
  monitoring.stopping = StopRequested;
  monitoring.on_stop = RequestStop;
  const auto monitor = RankMonitor::Start(std::move(beats), launch.rank, peers, std::move(monitoring));

  C10dCollectives::Options collective;
  collective.rank = launch.rank;
  collective.num_ranks = launch.num_ranks;
  collective.timeout = 2 * options.rank_timeout;
  const absl::StatusOr<std::string> address = MyAddress(me, peers);
  collective.address = address.value_or("");
  absl::StatusOr<std::unique_ptr<C10dCollectives>> collectives =
      address.ok() ? C10dCollectives::Connect(*store, collective)
                   : absl::UnavailableError(address.status().message());
  if (!collectives.ok()) {
    const absl::Status status = monitor->Explain(collectives.status().message());
    monitor->Leave(status);
    monitor->Stop();
    return status;
  }
  return std::make_unique<ProcessCommunicator>(launch, options, std::move(store), monitor,
                                               *std::move(collectives));
}

}  // namespace afterimage::trainer
