#include "trainer/distributed/in_memory_communicator.h"

#include <ATen/ATen.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

// Where the ranks meet. Call number n of one rank meets call number n of the others: the last to arrive does
// what the call is for, for all.
class MeetingPlace {
 public:
  explicit MeetingPlace(uint32_t num_ranks) : num_ranks_(num_ranks), has_left_(num_ranks, false) {}

  uint32_t num_ranks() const { return num_ranks_; }

  struct Call {
    std::vector<at::Tensor> tensors;  // by rank
    std::vector<std::string> texts;
    uint32_t num_arrived = 0;
    uint32_t num_done = 0;
    bool complete = false;
    absl::Time finished;
  };
  using Act = std::function<void(Call& call)>;

  void Arrive(uint64_t number, uint32_t rank, const at::Tensor& tensor, const std::string& text,
              const Act& act) {
    std::lock_guard lock(mutex_);
    Call& call = calls_[number];
    call.tensors.resize(num_ranks_);
    call.texts.resize(num_ranks_);
    call.tensors[rank] = tensor;
    call.texts[rank] = text;
    if (++call.num_arrived < num_ranks_) return;
    if (act) act(call);
    call.complete = true;
    call.finished = absl::Now();
    changed_.notify_all();
  }

  absl::StatusOr<Call> Wait(uint64_t number) {
    std::unique_lock lock(mutex_);
    Call& call = calls_[number];
    changed_.wait(lock, [&] { return call.complete || !failure_.ok(); });
    if (!call.complete) return failure_;
    Call result = call;
    if (++call.num_done == num_ranks_) calls_.erase(number);
    return result;
  }

  void Leave(uint32_t rank, const absl::Status& status) {
    std::lock_guard lock(mutex_);
    if (has_left_[rank]) return;
    has_left_[rank] = true;
    if (status.ok() || !failure_.ok()) return;
    failure_ = absl::UnavailableError(absl::StrCat("rank ", rank, ": ", status.message()));
    changed_.notify_all();
  }

 private:
  const uint32_t num_ranks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, Call> calls_;  // that some rank has begun and not every rank ended
  std::vector<bool> has_left_;
  absl::Status failure_;
};

class InMemoryCommunicator : public Communicator {
 public:
  InMemoryCommunicator(std::shared_ptr<MeetingPlace> place, uint32_t rank)
      : place_(std::move(place)), rank_(rank) {}
  ~InMemoryCommunicator() override { place_->Leave(rank_, absl::UnavailableError("it has gone")); }

  uint32_t rank() const override { return rank_; }
  uint32_t num_ranks() const override { return place_->num_ranks(); }
  std::string Description() const override { return absl::StrCat(num_ranks(), " ranks in one process"); }

  absl::StatusOr<std::unique_ptr<PendingSum>> StartSum(const at::Tensor& tensor) override {
    return std::make_unique<Sum>(place_, Begin(tensor, "", [](MeetingPlace::Call& call) {
                                   const at::Tensor sum = call.tensors[0].clone();
                                   for (size_t r = 1; r < call.tensors.size(); ++r) sum.add_(call.tensors[r]);
                                   for (const at::Tensor& mine : call.tensors) mine.copy_(sum);
                                 }));
  }
  absl::Status Broadcast(const at::Tensor& tensor, uint32_t root) override {
    return Meet(tensor, "",
                [root](MeetingPlace::Call& call) {
                  for (const at::Tensor& mine : call.tensors) mine.copy_(call.tensors[root]);
                })
        .status();
  }
  absl::Status Barrier() override { return Meet({}, "", {}).status(); }
  absl::StatusOr<std::vector<std::string>> Gather(const std::string& text) override {
    AFTERIMAGE_ASSIGN_OR_RETURN(MeetingPlace::Call call, Meet({}, text, {}));
    return std::move(call.texts);
  }

  void SetActivity(absl::string_view) override {}
  void Leave(const absl::Status& status) override { place_->Leave(rank_, status); }

 private:
  class Sum : public PendingSum {
   public:
    Sum(std::shared_ptr<MeetingPlace> place, uint64_t number) : place_(std::move(place)), number_(number) {}
    absl::Status Wait() override {
      AFTERIMAGE_ASSIGN_OR_RETURN(const MeetingPlace::Call call, place_->Wait(number_));
      finished_ = call.finished;
      return absl::OkStatus();
    }
    absl::Time finished() const override { return finished_; }

   private:
    const std::shared_ptr<MeetingPlace> place_;
    const uint64_t number_;
    absl::Time finished_;
  };

  uint64_t Begin(const at::Tensor& tensor, const std::string& text, const MeetingPlace::Act& act) {
    // Memory, not a variable of autograd: the last rank writes into it.
    place_->Arrive(next_call_, rank_, tensor.defined() ? tensor.detach() : tensor, text, act);
    return next_call_++;
  }
  absl::StatusOr<MeetingPlace::Call> Meet(const at::Tensor& tensor, const std::string& text,
                                          const MeetingPlace::Act& act) {
    return place_->Wait(Begin(tensor, text, act));
  }

  const std::shared_ptr<MeetingPlace> place_;
  const uint32_t rank_;
  uint64_t next_call_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> InMemoryCommunicators(uint32_t num_ranks) {
  const auto place = std::make_shared<MeetingPlace>(num_ranks);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (uint32_t rank = 0; rank < num_ranks; ++rank)
    communicators.push_back(std::make_unique<InMemoryCommunicator>(place, rank));
  return communicators;
}

}  // namespace afterimage::trainer
