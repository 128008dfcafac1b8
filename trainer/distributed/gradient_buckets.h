// Gradients summed over the ranks while the backward pass still runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/vit/vit.h"
#include "trainer/distributed/communicator.h"

namespace afterimage::trainer {

// Puts a hook on each parameter that requires a gradient. Gradients come from the last layers first; as soon
// as those of one bucket are complete, their sum begins. Buckets are laid out in the order of the first
// backward pass, as the lowest rank that had samples saw it, so that every rank begins the same sums in the
// same order. One thread at a time, but for the backward's own.
class GradientBuckets {
 public:
  // When the sum of one bucket went on, of the last step.
  struct Span {
    absl::Time begin;
    absl::Time end;
    int64_t bytes = 0;
  };

  // `bucket_bytes` 0: a sixteenth of all gradients, within 256 KB and 25 MB: the sum of the last bucket,
  // which no computation is left to hide, is then small beside the others. The communicator must outlive the
  // buckets.
  GradientBuckets(const ParameterMap& parameters, Communicator* communicator, int64_t bucket_bytes);
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  // Before the backward pass that completes the gradients (the last one, where a batch is accumulated in
  // parts). A rank without samples makes no such pass; its gradients count as zeros.
  void Begin();
  // After it: begins the sums that are left and waits for all. Then the gradient of a parameter is the sum
  // over the ranks; parameters that got none on any rank in the first step have none.
  absl::Status Finish();

  const std::vector<Span>& spans() const { return spans_; }

 private:
  friend class BucketHook;
  struct Slot {
    at::Tensor parameter;
    int bucket = -1;      // where laid out
    at::Tensor view;      // of the bucket's memory, in the parameter's shape
    bool filled = false;  // in this step
  };
  struct Bucket {
    at::Tensor memory;
    std::vector<int> slots;
    int num_filled = 0;
    std::unique_ptr<PendingSum> sum;
    absl::Time begin;
  };

  void OnGradient(int slot);
  void Fill(Slot& slot, const at::Tensor& gradient);
  void StartReady();
  absl::Status LayOut();

  Communicator* const communicator_;
  const int64_t bucket_bytes_;
  std::vector<Slot> slots_;
  std::vector<Bucket> buckets_;
  std::vector<int> order_;  // in which gradients came in the first step
  size_t num_started_ = 0;
  bool active_ = false;
  absl::Status failure_;
  std::vector<Span> spans_;
};

}  // namespace afterimage::trainer
