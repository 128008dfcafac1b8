#include "trainer/classify/labelled_input.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/order/order_spec.h"
#include "core/vit/torch_status.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {
namespace {

// `views` [B, S, S, 3] of normalised pixels.
void Erase(const std::vector<std::optional<Erasure>>& erasures, at::Tensor& views) {
  for (size_t i = 0; i < erasures.size(); ++i) {
    if (!erasures[i].has_value()) continue;
    const PixelBox& box = erasures[i]->box;
    const at::Tensor noise =
        at::from_blob(const_cast<float*>(erasures[i]->noise.data()), {box.height, box.width, 3}, at::kFloat);
    views.select(0, static_cast<int64_t>(i))
        .narrow(0, box.y, box.height)
        .narrow(1, box.x, box.width)
        .copy_(noise);
  }
}

class ViewInput : public LabelledInput {
 public:
  ViewInput(const ImageSource* source, LabelledViewLoader::Options options, PixelScaling scaling)
      : source_(source), options_(std::move(options)), scaling_(std::move(scaling)) {}

  uint64_t steps_per_epoch() const override { return source_->size() / options_.batch_size; }

  absl::Status Begin(uint64_t step) override {
    options_.first_step = step;
    AFTERIMAGE_ASSIGN_OR_RETURN(loader_, LabelledViewLoader::Open(source_, options_));
    return absl::OkStatus();
  }

  absl::StatusOr<LabelledBatch> Next() override {
    const absl::Time begin = absl::Now();
    AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledViewLoader::Batch* batch, loader_->Next());
    const absl::Duration waited = absl::Now() - begin;
    absl::StatusOr<LabelledBatch> result = RunTorch([&] {
      c10::NoGradGuard no_grad;
      const auto size = static_cast<int64_t>(batch->size);
      const int64_t side = options_.view.size;
      const at::Tensor pixels =
          at::from_blob(const_cast<uint8_t*>(batch->pixels.data()), {size, side, side, 3}, at::kByte);
      LabelledBatch labelled;
      labelled.inputs = NormalizePixels(pixels.to(scaling_.mean.device()), scaling_.mean, scaling_.deviation);
      Erase(batch->erasures, labelled.inputs);
      labelled.labels = at::from_blob(const_cast<int64_t*>(batch->labels.data()), {size}, at::kLong).clone();
      labelled.indices = batch->indices;
      labelled.places = batch->places;
      labelled.waited = batch->made_in.ScaledTo(waited);
      return labelled;
    });
    loader_->Release(batch);
    return result;
  }

  std::string NameOf(size_t index) const override { return source_->entry(index).name; }

 private:
  const ImageSource* const source_;
  LabelledViewLoader::Options options_;
  const PixelScaling scaling_;
  std::unique_ptr<LabelledViewLoader> loader_;
};

class TableInput : public LabelledInput {
 public:
  TableInput(const ImageSource* source, at::Tensor rows, at::Tensor labels, uint64_t batch_size,
             uint64_t seed)
      : source_(source),
        rows_(std::move(rows)),
        labels_(std::move(labels)),
        batch_size_(batch_size),
        seed_(seed) {}

  uint64_t steps_per_epoch() const override { return static_cast<uint64_t>(rows_.size(0)) / batch_size_; }

  absl::Status Begin(uint64_t step) override {
    step_ = step;
    return absl::OkStatus();
  }

  absl::StatusOr<LabelledBatch> Next() override {
    const uint64_t epoch = step_ / steps_per_epoch(), first = step_ % steps_per_epoch() * batch_size_;
    ++step_;
    return RunTorch([&] {
      c10::NoGradGuard no_grad;
      LabelledBatch batch;
      at::Tensor chosen = at::empty({static_cast<int64_t>(batch_size_)}, at::kLong);
      for (uint64_t i = 0; i < batch_size_; ++i) {
        const uint64_t index = PermuteIndex(first + i, static_cast<uint64_t>(rows_.size(0)), seed_, epoch);
        chosen.data_ptr<int64_t>()[i] = static_cast<int64_t>(index);
        batch.indices.push_back(index);
        batch.places.push_back(static_cast<uint32_t>(i));
      }
      batch.labels = labels_.index_select(0, chosen);
      batch.inputs = rows_.index_select(0, chosen.to(rows_.device())).to(at::kFloat);
      return batch;
    });
  }

  std::string NameOf(size_t index) const override { return source_->entry(index).name; }

 private:
  const ImageSource* const source_;
  const at::Tensor rows_, labels_;
  const uint64_t batch_size_, seed_;
  uint64_t step_ = 0;
};

}  // namespace

absl::StatusOr<PixelScaling> ScalingOf(const PixelNorm& pixels, at::Device device) {
  PixelScaling scaling;
  AFTERIMAGE_ASSIGN_OR_RETURN(scaling.mean, ParseTriple(pixels.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(scaling.deviation, ParseTriple(pixels.deviation));
  scaling.mean = scaling.mean.to(device);
  scaling.deviation = scaling.deviation.to(device);
  return scaling;
}

absl::StatusOr<std::unique_ptr<LabelledInput>> OpenViewInput(const ImageSource* source,
                                                             const LabelledViewLoader::Options& options,
                                                             const PixelScaling& scaling) {
  AFTERIMAGE_RETURN_IF_ERROR(options.view.Validate());
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*source));
  if (options.batch_size == 0 || source->size() < options.batch_size) {
    return absl::InvalidArgumentError(absl::StrCat(source->Description(),
                                                   " has fewer pictures than a batch of ", options.batch_size,
                                                   ": give a smaller --batch-size"));
  }
  return std::make_unique<ViewInput>(source, options, scaling);
}

std::unique_ptr<LabelledInput> MakeTableInput(const ImageSource* source, at::Tensor rows, at::Tensor labels,
                                              uint64_t batch_size, uint64_t seed) {
  return std::make_unique<TableInput>(source, std::move(rows), std::move(labels), batch_size, seed);
}

Evaluation EvaluationOfViews(const ImageSource* source, uint32_t size, int64_t num_classes, int num_threads,
                             const PixelScaling& scaling, const RankSlice& slice) {
  return [=](const LogitsOfInputs& logits) {
    const auto of_views = [&](const at::Tensor& views) {
      return logits(NormalizePixels(views.to(scaling.mean.device()), scaling.mean, scaling.deviation));
    };
    return EvaluateClassifier(*source, size, num_classes, num_threads, of_views, /*batch_done=*/{}, slice);
  };
}

Evaluation EvaluationOfTable(at::Tensor rows, at::Tensor labels, int64_t num_classes) {
  return [=](const LogitsOfInputs& logits) -> absl::StatusOr<ClassificationResult> {
    constexpr int64_t kBatch = 4096;
    ClassificationTally tally(num_classes);
    for (int64_t begin = 0; begin < rows.size(0); begin += kBatch) {
      const int64_t size = std::min(kBatch, rows.size(0) - begin);
      AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] {
        c10::NoGradGuard no_grad;
        tally.Add(logits(rows.narrow(0, begin, size).to(at::kFloat)), labels.narrow(0, begin, size));
      }));
      if (StopRequested()) return absl::CancelledError("stopped while features were classified");
    }
    return tally.Result();
  };
}

}  // namespace afterimage::trainer
