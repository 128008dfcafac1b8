#include "trainer/pretrain/sample_pictures.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <span>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/tensor_file.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

constexpr uint32_t kComponents = 3;
constexpr int kCell = 168;  // least side of a cell, in pixels
constexpr int kMargin = 8;
constexpr int kHeader = 22;
constexpr Color kInk{40, 40, 40};
constexpr std::array<const char*, 3> kColumns{"visible", "teacher (PCA)", "student (PCA)"};

// The rows of patches of one sample, without the class token.
std::span<const float> PatchRows(const at::Tensor& features, int64_t sample) {
  const int64_t width = features.size(2);
  const float* const rows = features.const_data_ptr<float>() + sample * features.size(1) * width;
  return {rows + width, static_cast<size_t>((features.size(1) - 1) * width)};
}

}  // namespace

absl::StatusOr<std::unique_ptr<SamplePictures>> SamplePictures::Open(const PretrainPlan& plan) {
  std::unique_ptr<SamplePictures> pictures(new SamplePictures(plan));
  if (!plan.options.resume || !std::filesystem::exists(pictures->Path())) return pictures;
  AFTERIMAGE_ASSIGN_OR_RETURN(ParameterMap samples, LoadTensors(pictures->Path()));
  for (const auto& [name, target] : {std::pair{"pixels", &pictures->pixels_},
                                     {"visible", &pictures->visible_},
                                     {"target", &pictures->target_}}) {
    if (!samples.contains(name))
      return absl::DataLossError(absl::StrCat(pictures->Path(), " lacks \"", name, "\": remove the file"));
    *target = samples[name];
  }
  return pictures;
}

SamplePictures::SamplePictures(const PretrainPlan& plan)
    : plan_(plan), grid_(static_cast<int>(plan.vit.image_size / plan.vit.patch_size)) {}

std::string SamplePictures::Path() const { return plan_.options.out + "/picture_samples.safetensors"; }

absl::Status SamplePictures::Offer(const TrainingBatch& batch) {
  if (target_.defined() || batch.size == 0) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] {
    const int64_t count = std::min(kNumSamples, batch.size);
    const auto first = [&](const at::Tensor& tensor) {
      return tensor.narrow(0, 0, count).to(at::kCPU).clone(at::MemoryFormat::Contiguous);
    };
    pixels_ = first(batch.pixels);
    visible_ = first(batch.visible);
    target_ = first(batch.targets.back());
    if (plan_.target_norm != TargetNorm::kWhiten) {
      target_ = NormalizeTargets(plan_.target_norm, target_, first(batch.mean.back()),
                                 first(batch.inverse_deviation.back()))
                    .contiguous();
    }
  }));
  return SaveTensors(Path(), {{"pixels", pixels_}, {"visible", visible_}, {"target", target_}});
}

absl::Status SamplePictures::Prepare() {
  if (!pca_.mean.empty()) return absl::OkStatus();
  PcaAccumulator accumulator(static_cast<uint32_t>(target_.size(2)));
  for (int64_t i = 0; i < target_.size(0); ++i) accumulator.Add(PatchRows(target_, i));
  AFTERIMAGE_ASSIGN_OR_RETURN(pca_, accumulator.Finish(kComponents));
  for (int64_t i = 0; i < target_.size(0); ++i) colors_.Add(Project(pca_, PatchRows(target_, i)));
  return absl::OkStatus();
}

absl::StatusOr<RgbImage> SamplePictures::Draw(const TrainStep& train_step) {
  if (!target_.defined()) return absl::FailedPreconditionError("there are no samples to draw");
  AFTERIMAGE_RETURN_IF_ERROR(Prepare());
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor predicted, train_step.PredictHighest(pixels_, visible_));
  const auto patch_pixels = static_cast<int>(plan_.vit.patch_size);
  const int view = grid_ * patch_pixels;
  const int side = (kCell + view - 1) / view * view;
  Canvas canvas(static_cast<uint32_t>(kColumns.size()) * (side + kMargin) + kMargin,
                kHeader + static_cast<uint32_t>(target_.size(0)) * (side + kMargin));
  const auto cell = [&](size_t column, int64_t row) {
    return PatchGrid{.x = kMargin + static_cast<int>(column) * (side + kMargin),
                     .y = kHeader + static_cast<int>(row) * (side + kMargin),
                     .patches_per_side = grid_,
                     .patch_side = side / grid_};
  };
  for (size_t column = 0; column < kColumns.size(); ++column)
    canvas.DrawText(kColumns[column], cell(column, 0).x, 7, kInk);
  const size_t patch_bytes = size_t{3} * patch_pixels * patch_pixels;
  for (int64_t row = 0; row < target_.size(0); ++row) {
    for (size_t column = 0; column < kColumns.size(); ++column) ClearGrid(canvas, cell(column, row));
    const auto* const patches = visible_.const_data_ptr<int64_t>() + row * visible_.size(1);
    const std::span<const uint8_t> pixels(pixels_.const_data_ptr<uint8_t>() + row * pixels_.stride(0),
                                          patch_bytes * visible_.size(1));
    const std::vector<float> teacher = Project(pca_, PatchRows(target_, row));
    const std::vector<float> student = Project(pca_, PatchRows(predicted, row));
    for (int64_t i = 0; i < visible_.size(1); ++i) {
      const auto patch = static_cast<uint32_t>(patches[i]);
      DrawPatch(canvas, cell(0, row), patch, pixels.subspan(i * patch_bytes, patch_bytes), patch_pixels);
      FillPatch(canvas, cell(1, row), patch,
                colors_.At(std::span<const float, kComponents>(&teacher[i * kComponents], kComponents)));
      FillPatch(canvas, cell(2, row), patch,
                colors_.At(std::span<const float, kComponents>(&student[i * kComponents], kComponents)));
    }
  }
  return canvas.image();
}

}  // namespace afterimage::trainer
