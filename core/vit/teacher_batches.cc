#include "core/vit/teacher_batches.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/version.h>

#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/vit/teacher_runner.h"

namespace afterimage {
namespace {

Json DecimalTexts(const ChannelValues& values) {
  Json texts = Json::array();
  for (const double value : values) texts.push_back(DecimalText(value));
  return texts;
}

// The i-th of a batch's equal parts.
void CopyRow(const at::Tensor& batch, size_t i, std::vector<float>& target) {
  const int64_t count = batch.numel() / batch.size(0);
  const float* source = batch.const_data_ptr<float>() + static_cast<int64_t>(i) * count;
  target.assign(source, source + count);
}

}  // namespace

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  return RunTorch([&]() -> absl::StatusOr<at::Device> {
    std::optional<at::Device> device;
    try {
      device.emplace(name);
    } catch (const c10::Error&) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown device \"", name, "\": cpu, cuda or cuda:<number>"));
    }
    if (device->is_cpu()) return *device;
    if (!device->is_cuda()) {
      return absl::InvalidArgumentError(
          absl::StrCat("device \"", name, "\" is not supported: cpu, cuda or cuda:<number>"));
    }
    const int count = at::hasCUDA() ? at::detail::getCUDAHooks().getNumGPUs() : 0;
    if (std::max<int>(device->index(), 0) >= count) {
      return absl::UnavailableError(
          absl::StrCat("no device \"", name, "\": this build and machine have ", count, " GPUs"));
    }
    return *device;
  });
}

std::string DescribeTorchDevice(const at::Device& device, int num_threads) {
  if (!device.is_cpu()) return absl::StrCat(device.str(), ", LibTorch ", TORCH_VERSION);
  const int threads = num_threads > 0 ? num_threads : at::get_num_threads();
  return absl::StrCat("cpu (", at::get_cpu_capability(), "), ", threads,
                      threads == 1 ? " thread" : " threads", ", LibTorch ", TORCH_VERSION);
}

Json PixelSpec(const char* filter, const ChannelValues& mean, const ChannelValues& std, int64_t size) {
  return {{"filter", filter}, {"mean", DecimalTexts(mean)}, {"size", size}, {"std", DecimalTexts(std)}};
}

NormalizedValues NormalizeValues(const ChannelValues& mean, const ChannelValues& std) {
  NormalizedValues normalized{};
  for (size_t channel = 0; channel < 3; ++channel) {
    for (int value = 0; value < 256; ++value) {
      normalized[channel][static_cast<size_t>(value)] =
          static_cast<float>((value / 255.0 - mean[channel]) / std[channel]);
    }
  }
  return normalized;
}

absl::Status CheckLevels(std::span<const uint32_t> levels, int64_t num_levels) {
  uint32_t previous = 0;
  for (const uint32_t level : levels) {
    if (level < 1 || level > num_levels) {
      return absl::InvalidArgumentError(
          absl::StrCat("level ", level, " does not exist: the teacher has levels 1 to ", num_levels));
    }
    if (level <= previous) return absl::InvalidArgumentError("levels are not ascending");
    previous = level;
  }
  return absl::OkStatus();
}

FeatureRecord EmptyRecord(const View& view, uint32_t view_size, uint32_t grid) {
  FeatureRecord record;
  record.geometry = view.geometry;
  record.view_digest = view.digest;
  record.view_size = view_size;
  record.grid = grid;
  record.tokens.resize(1 + size_t{grid} * grid);
  std::iota(record.tokens.begin(), record.tokens.end(), uint16_t{0});
  record.pixels = ToPatchMajor(view.pixels, grid);
  return record;
}

void SetImportance(const at::Tensor& importance, std::span<FeatureRecord> records) {
  const at::Tensor host = importance.to(at::kCPU).contiguous();
  for (size_t i = 0; i < records.size(); ++i) CopyRow(host, i, records[i].importance);
}

void AppendLevel(const at::Tensor& hidden, uint32_t level, std::span<FeatureRecord> records) {
  const auto [values, mean, inverse_deviation] =
      at::native_layer_norm(hidden, {hidden.size(-1)}, {}, {}, kNormalizationEps);
  const at::Tensor host_values = values.to(at::kCPU).contiguous();
  const at::Tensor host_mean = mean.to(at::kCPU).contiguous();
  const at::Tensor host_deviation = inverse_deviation.to(at::kCPU).contiguous();
  for (size_t i = 0; i < records.size(); ++i) {
    LevelFeatures& features = records[i].levels.emplace_back();
    features.level = level;
    features.width = static_cast<uint32_t>(hidden.size(-1));
    CopyRow(host_values, i, features.values);
    CopyRow(host_mean, i, features.mean);
    CopyRow(host_deviation, i, features.inverse_deviation);
  }
}

void AppendEmbeddings(const at::Tensor& hidden, size_t count, std::vector<float>& embeddings) {
  const at::Tensor both =
      at::cat({hidden.select(1, 0), hidden.slice(1, 1).mean(1)}, 1).to(at::kCPU).contiguous();
  const float* data = both.const_data_ptr<float>();
  embeddings.insert(embeddings.end(), data, data + static_cast<int64_t>(count) * both.size(1));
}

}  // namespace afterimage
