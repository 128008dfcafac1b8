// How well a classifier does on labelled images.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/image/image_source.h"
#include "core/order/order_spec.h"

namespace afterimage::trainer {

struct ClassResult {
  uint64_t num_images = 0;
  uint64_t num_right = 0;  // top-1
};

struct ClassificationResult {
  uint64_t num_images = 0;
  uint64_t num_top1 = 0;
  uint64_t num_top5 = 0;  // the label is among the five highest logits, or all where there are fewer
  double loss = 0;        // mean cross entropy, without smoothing
  std::vector<ClassResult> classes;  // by label

  // Adds other images of the same classes.
  void Merge(const ClassificationResult& other);
  double top1() const { return Share(num_top1); }
  double top5() const { return Share(num_top5); }

 private:
  double Share(uint64_t count) const {
    return num_images == 0 ? 0 : static_cast<double>(count) / static_cast<double>(num_images);
  }
};

// Adds up batches. Not thread-safe.
class ClassificationTally {
 public:
  explicit ClassificationTally(int64_t num_classes) { result_.classes.resize(num_classes); }
  // logits [B, classes], labels int64 [B].
  void Add(const at::Tensor& logits, const at::Tensor& labels);
  ClassificationResult Result() const;

 private:
  ClassificationResult result_;
  double loss_sum_ = 0;
};

// uint8 views [B, S, S, 3] -> logits [B, classes].
using LogitsOfViews = std::function<at::Tensor(const at::Tensor& views)>;

// Over all pictures of `source`, in views of evaluation of `size` pixels. `batch_done` is told the size of
// each batch. Cancelled: a stop was requested. InvalidArgument: a picture without a label. Errors of a
// picture name it. Of several ranks each takes its part of the pictures.
absl::StatusOr<ClassificationResult> EvaluateClassifier(const ImageSource& source, uint32_t size,
                                                        int64_t num_classes, int num_threads,
                                                        const LogitsOfViews& logits,
                                                        const std::function<void(size_t)>& batch_done = {},
                                                        const RankSlice& slice = {});

}  // namespace afterimage::trainer
