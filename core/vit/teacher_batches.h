// What every TeacherRunner on LibTorch does alike: views into micro-batches, outputs into records.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_record.h"
#include "core/identity/canonical_spec.h"
#include "core/vit/teacher_settings.h"
#include "core/vit/torch_status.h"

namespace afterimage {

// "cpu", "cuda", "cuda:1". InvalidArgument: another name. Unavailable: no such device here.
absl::StatusOr<at::Device> ParseDevice(const std::string& name);

// For UnitMetadata: device, instruction set and threads (0 = LibTorch's own choice), version.
std::string DescribeTorchDevice(const at::Device& device, int num_threads);

// The preprocessing of a feature spec.
Json PixelSpec(const char* filter, const ChannelValues& mean, const ChannelValues& std, int64_t size);

// (value / 255 - mean) / std of the 256 values, per channel.
using NormalizedValues = std::array<std::array<float, 256>, 3>;
NormalizedValues NormalizeValues(const ChannelValues& mean, const ChannelValues& std);

// InvalidArgument: levels that are not ascending or do not exist.
absl::Status CheckLevels(std::span<const uint32_t> levels, int64_t num_levels);

// A record of all tokens without levels and importance.
FeatureRecord EmptyRecord(const View& view, uint32_t view_size, uint32_t grid);

// The following take the first rows of a batch, as many as there are records.
void SetImportance(const at::Tensor& importance, std::span<FeatureRecord> records);  // [B, N]
// The affine-free LayerNorm of each row of hidden [B, 1 + N, D], and what undoes it.
void AppendLevel(const at::Tensor& hidden, uint32_t level, std::span<FeatureRecord> records);
// Of hidden [B, 1 + N, D]: the class row, then the mean of the patches, of the first `count` samples.
void AppendEmbeddings(const at::Tensor& hidden, size_t count, std::vector<float>& embeddings);

// Runs the views in batches of exactly `micro_batch`, the last one padded with what was there before: a
// sample's bits do not depend on its neighbours. `fill(view, i)` puts a view at place i of the batch,
// `consume(views)` runs it; both may throw. InvalidArgument: a view of another size.
template <typename Fill, typename Consume>
absl::Status ForEachMicroBatch(std::span<const View> views, uint32_t view_size, size_t micro_batch,
                               int num_threads, Fill fill, Consume consume) {
  for (const View& view : views) {
    if (view.pixels.width != view_size || view.pixels.height != view_size) {
      return absl::InvalidArgumentError("a view of " + std::to_string(view.pixels.width) + " x " +
                                        std::to_string(view.pixels.height) + " pixels, the teacher takes " +
                                        std::to_string(view_size) + " x " + std::to_string(view_size));
    }
  }
  return RunTorch([&]() -> absl::Status {
    const c10::InferenceMode inference;
    // The setting belongs to the calling thread, and Run may be called from another than Load.
    if (num_threads > 0 && at::get_num_threads() != num_threads) at::set_num_threads(num_threads);
    while (!views.empty()) {
      const auto batch = views.first(std::min(views.size(), micro_batch));
      for (size_t i = 0; i < batch.size(); ++i) fill(batch[i], i);
      AFTERIMAGE_RETURN_IF_ERROR(consume(batch));
      views = views.subspan(batch.size());
    }
    return absl::OkStatus();
  });
}

}  // namespace afterimage
