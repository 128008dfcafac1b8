#include "trainer/evaluation/classification.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/vit/torch_status.h"
#include "trainer/data/labelled_view_loader.h"

namespace afterimage::trainer {

void ClassificationResult::Merge(const ClassificationResult& other) {
  const double sum =
      loss * static_cast<double>(num_images) + other.loss * static_cast<double>(other.num_images);
  num_images += other.num_images;
  num_top1 += other.num_top1;
  num_top5 += other.num_top5;
  loss = num_images > 0 ? sum / static_cast<double>(num_images) : 0;
  classes.resize(std::max(classes.size(), other.classes.size()));
  for (size_t i = 0; i < other.classes.size(); ++i) {
    classes[i].num_images += other.classes[i].num_images;
    classes[i].num_right += other.classes[i].num_right;
  }
}

void ClassificationTally::Add(const at::Tensor& logits, const at::Tensor& labels) {
  constexpr int64_t kTop = 5;
  c10::NoGradGuard no_grad;
  const at::Tensor values = logits.to(at::kCPU, at::kFloat);
  const int64_t top = std::min(kTop, values.size(1));
  const at::Tensor hits = std::get<1>(values.topk(top, 1)).eq(labels.unsqueeze(1)).contiguous();
  loss_sum_ += at::cross_entropy_loss(values, labels, {}, at::Reduction::Sum).item<double>();
  for (int64_t i = 0; i < labels.size(0); ++i) {
    const bool* const row = hits.const_data_ptr<bool>() + i * top;
    ClassResult& of_class = result_.classes[static_cast<size_t>(labels[i].item<int64_t>())];
    ++of_class.num_images;
    ++result_.num_images;
    of_class.num_right += row[0] ? 1 : 0;
    result_.num_top1 += row[0] ? 1 : 0;
    result_.num_top5 += std::any_of(row, row + top, [](bool hit) { return hit; }) ? 1 : 0;
  }
}

ClassificationResult ClassificationTally::Result() const {
  ClassificationResult result = result_;
  if (result.num_images > 0) result.loss = loss_sum_ / static_cast<double>(result.num_images);
  return result;
}

absl::StatusOr<ClassificationResult> EvaluateClassifier(const ImageSource& source, uint32_t size,
                                                        int64_t num_classes, int num_threads,
                                                        const LogitsOfViews& logits,
                                                        const std::function<void(size_t)>& batch_done,
                                                        const RankSlice& slice) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(source));
  ClassificationTally tally(num_classes);
  AFTERIMAGE_RETURN_IF_ERROR(ForEachEvaluationBatch(
      source, size, num_threads,
      [&](const LabelledViewLoader::Batch& batch) -> absl::Status {
        const absl::Status done = RunTorch([&] {
          c10::NoGradGuard no_grad;
          const auto count = static_cast<int64_t>(batch.size);
          const at::Tensor views =
              at::from_blob(const_cast<uint8_t*>(batch.pixels.data()), {count, size, size, 3}, at::kByte);
          const at::Tensor labels =
              at::from_blob(const_cast<int64_t*>(batch.labels.data()), {count}, at::kLong);
          tally.Add(logits(views), labels);
          return absl::OkStatus();
        });
        AFTERIMAGE_RETURN_IF_ERROR(done);
        if (batch_done) batch_done(batch.size);
        return StopRequested() ? absl::CancelledError("stopped while images were classified")
                               : absl::OkStatus();
      },
      slice));
  return tally.Result();
}

}  // namespace afterimage::trainer
