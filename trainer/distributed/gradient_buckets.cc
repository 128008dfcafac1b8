#include "trainer/distributed/gradient_buckets.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {

// Called by autograd once the gradient of a leaf is complete, in the thread of the backward pass.
class BucketHook : public torch::autograd::PostAccumulateGradHook {
 public:
  BucketHook(GradientBuckets* buckets, int slot) : buckets_(buckets), slot_(slot) {}
  void operator()(const torch::autograd::Variable&) override { buckets_->OnGradient(slot_); }

 private:
  GradientBuckets* const buckets_;
  const int slot_;
};

GradientBuckets::GradientBuckets(const ParameterMap& parameters, Communicator* communicator,
                                 int64_t bucket_bytes)
    : communicator_(communicator), bucket_bytes_(bucket_bytes) {
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) continue;
    torch::autograd::impl::set_post_acc_grad_hooks(
        parameter, std::make_unique<BucketHook>(this, static_cast<int>(slots_.size())));
    slots_.push_back({.parameter = parameter});
  }
}

GradientBuckets::~GradientBuckets() {
  for (Slot& slot : slots_) torch::autograd::impl::set_post_acc_grad_hooks(slot.parameter, nullptr);
}

void GradientBuckets::Begin() {
  for (Bucket& bucket : buckets_) {
    bucket.num_filled = 0;
    bucket.sum.reset();
  }
  for (Slot& slot : slots_) slot.filled = false;
  num_started_ = 0;
  active_ = true;
}

void GradientBuckets::OnGradient(int index) {
  if (!active_ || !failure_.ok()) return;
  if (buckets_.empty()) {
    order_.push_back(index);
    return;
  }
  Slot& slot = slots_[index];
  if (slot.bucket < 0) {
    failure_ =
        absl::InternalError("a parameter got a gradient that none had got in the first step of the run");
    return;
  }
  Fill(slot, slot.parameter.grad());
  StartReady();
}

// Moves a gradient (undefined: zeros) into its place in the bucket.
void GradientBuckets::Fill(Slot& slot, const at::Tensor& gradient) {
  gradient.defined() ? slot.view.copy_(gradient) : slot.view.zero_();
  at::Tensor(slot.parameter).mutable_grad() = slot.view;
  slot.filled = true;
  ++buckets_[slot.bucket].num_filled;
}

void GradientBuckets::StartReady() {
  while (num_started_ < buckets_.size() && failure_.ok()) {
    Bucket& bucket = buckets_[num_started_];
    if (bucket.num_filled < static_cast<int>(bucket.slots.size())) return;
    bucket.begin = absl::Now();
    absl::StatusOr<std::unique_ptr<PendingSum>> sum = communicator_->StartSum(bucket.memory);
    if (!sum.ok()) {
      failure_ = sum.status();
      return;
    }
    bucket.sum = *std::move(sum);
    ++num_started_;
  }
}

absl::Status GradientBuckets::LayOut() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> orders,
                              communicator_->Gather(absl::StrJoin(order_, ",")));
  const auto first = std::ranges::find_if(orders, [](const std::string& order) { return !order.empty(); });
  if (first == orders.end()) return absl::OkStatus();  // no samples anywhere: the next step tells
  std::vector<int> order;
  int64_t total_bytes = 0;
  for (const absl::string_view text : absl::StrSplit(*first, ',')) {
    int index = 0;
    if (!absl::SimpleAtoi(text, &index) || index < 0 || index >= static_cast<int>(slots_.size()))
      return absl::InternalError("the ranks do not have the same parameters");
    order.push_back(index);
    total_bytes += static_cast<int64_t>(slots_[index].parameter.nbytes());
  }
  constexpr int64_t kLeast = int64_t{256} << 10, kMost = int64_t{25} << 20, kBuckets = 16;
  const int64_t limit = bucket_bytes_ > 0 ? bucket_bytes_ : std::clamp(total_bytes / kBuckets, kLeast, kMost);
  int64_t bytes = limit;
  for (const int index : order) {
    if (bytes >= limit) {
      buckets_.emplace_back();
      bytes = 0;
    }
    slots_[index].bucket = static_cast<int>(buckets_.size()) - 1;
    buckets_.back().slots.push_back(index);
    bytes += static_cast<int64_t>(slots_[index].parameter.nbytes());
  }
  for (Bucket& bucket : buckets_) {
    int64_t size = 0;
    for (const int index : bucket.slots) size += slots_[index].parameter.numel();
    bucket.memory = at::empty({size}, slots_[bucket.slots[0]].parameter.options().requires_grad(false));
    int64_t begin = 0;
    for (const int index : bucket.slots) {
      Slot& slot = slots_[index];
      slot.view = bucket.memory.narrow(0, begin, slot.parameter.numel()).view(slot.parameter.sizes());
      begin += slot.parameter.numel();
    }
  }
  return absl::OkStatus();
}

absl::Status GradientBuckets::Finish() {
  active_ = false;
  spans_.clear();
  AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&]() -> absl::Status {
    if (buckets_.empty()) AFTERIMAGE_RETURN_IF_ERROR(LayOut());
    for (Bucket& bucket : buckets_) {
      for (const int index : bucket.slots) {
        if (!slots_[index].filled) Fill(slots_[index], slots_[index].parameter.grad());
      }
    }
    StartReady();
    return failure_;
  }));
  for (Bucket& bucket : buckets_) {
    AFTERIMAGE_RETURN_IF_ERROR(bucket.sum->Wait());
    spans_.push_back({bucket.begin, bucket.sum->finished(), static_cast<int64_t>(bucket.memory.nbytes())});
  }
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
