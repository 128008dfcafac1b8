#include "core/vit/teacher_runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/position_tables.h"
#include "core/vit/teacher_families.h"
#include "core/vit/tensor_file.h"
#include "core/vit/torch_status.h"
#include "core/vit/vit.h"

namespace afterimage {
namespace {

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

Json DecimalTexts(const ChannelValues& values) {
  Json texts = Json::array();
  for (const double value : values) texts.push_back(DecimalText(value));
  return texts;
}

// Side of the views of a teacher that was loaded with its input size.
absl::StatusOr<uint32_t> ViewSize(const TeacherModel& model, const TeacherOptions& options) {
  if (options.input_size == 0) return static_cast<uint32_t>(model.config.image_size);
  const uint32_t native = static_cast<uint32_t>(model.native_grid * model.config.patch_size);
  const uint32_t size = options.image_size > 0 ? options.image_size : native;
  const auto grid = static_cast<uint32_t>(model.config.grid());
  if (size % grid != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("an input of ", options.input_size, " pixels makes a grid of ", grid, " x ", grid,
                     ", which does not divide views of ", size, ": choose a view size that is a multiple of ",
                     grid, ", or another input size"));
  }
  return size;
}

class TorchTeacherRunner : public TeacherRunner {
 public:
  TorchTeacherRunner(TeacherModel model, uint32_t view_size, Digest256 weights_digest, at::Device device,
                     const TeacherOptions& options)
      : model_(std::move(model)),
        view_size_(view_size),
        weights_digest_(weights_digest),
        device_(device),
        num_threads_(options.num_threads),
        micro_batch_(options.micro_batch) {
    for (auto& [name, tensor] : model_.parameters) tensor = tensor.to(device_).contiguous();
    const auto size = static_cast<int64_t>(model_.config.patch_size);
    // Pinned memory would need the CUDA library at run time; the copy is small beside the forward.
    rows_ = at::zeros({micro_batch_, model_.config.num_patches(), 3 * size * size}, at::kFloat);
    for (size_t channel = 0; channel < 3; ++channel) {
      for (int value = 0; value < 256; ++value) {
        normalized_[channel][static_cast<size_t>(value)] =
            static_cast<float>((value / 255.0 - model_.mean[channel]) / model_.std[channel]);
      }
    }
  }

  TeacherGeometry geometry() const override {
    return {.num_levels = static_cast<uint32_t>(model_.config.depth),
            .width = static_cast<uint32_t>(model_.config.width),
            .grid = static_cast<uint32_t>(model_.config.grid())};
  }

  Json TeacherSpec() const override {
    return {
        {"architecture", model_.config.ToCanonical()},
        {"family", model_.family},
        {"importance", "last_block_class_row_head_mean"},
        {"position_resize", model_.resized() ? PositionResizeName(model_.position_resize) : "none"},
        {"precision", "f32"},
        {"weights", weights_digest_.Hex()},
    };
  }

  Json PreprocessingSpec() const override {
    return {
        {"filter", ResizesViews() ? PositionResizeName(PositionResize::kSize) : "none"},
        {"mean", DecimalTexts(model_.mean)},
        {"size", model_.config.image_size},
        {"std", DecimalTexts(model_.std)},
    };
  }

  uint32_t view_size() const override { return view_size_; }
  uint32_t micro_batch() const override { return static_cast<uint32_t>(micro_batch_); }

  std::string DeviceDescription() const override {
    if (device_.is_cpu()) {
      const int threads = num_threads_ > 0 ? num_threads_ : at::get_num_threads();
      return absl::StrCat("cpu (", at::get_cpu_capability(), "), ", threads,
                          threads == 1 ? " thread" : " threads", ", LibTorch ", TORCH_VERSION);
    }
    return absl::StrCat(device_.str(), ", LibTorch ", TORCH_VERSION);
  }

  double ForwardMacs() const override { return VitForwardMacs(model_.config, model_.config.num_patches()); }

  absl::StatusOr<std::vector<FeatureRecord>> Run(std::span<const View> views,
                                                 std::span<const uint32_t> levels) override {
    uint32_t previous = 0;
    for (const uint32_t level : levels) {
      if (level < 1 || level > model_.config.depth) {
        return absl::InvalidArgumentError(absl::StrCat(
            "level ", level, " does not exist: the teacher has levels 1 to ", model_.config.depth));
      }
      if (level <= previous) return absl::InvalidArgumentError("levels are not ascending");
      previous = level;
    }
    std::vector<FeatureRecord> records;
    records.reserve(views.size());
    AFTERIMAGE_RETURN_IF_ERROR(ForEachMicroBatch(
        views, /*with_importance=*/true, [&](std::span<const View> batch, const VitOutput& output) {
          const size_t first = records.size();
          for (const View& view : batch) records.push_back(EmptyRecord(view));
          const at::Tensor importance = output.importance.to(at::kCPU).contiguous();
          for (size_t i = 0; i < batch.size(); ++i) CopyRow(importance, i, records[first + i].importance);
          for (const uint32_t level : levels) {
            const at::Tensor& hidden = output.hidden[level];
            const auto [values, mean, inverse_deviation] =
                at::native_layer_norm(hidden, {hidden.size(-1)}, {}, {}, kNormalizationEps);
            const at::Tensor host_values = values.to(at::kCPU).contiguous();
            const at::Tensor host_mean = mean.to(at::kCPU).contiguous();
            const at::Tensor host_deviation = inverse_deviation.to(at::kCPU).contiguous();
            for (size_t i = 0; i < batch.size(); ++i) {
              LevelFeatures& features = records[first + i].levels.emplace_back();
              features.level = level;
              features.width = static_cast<uint32_t>(model_.config.width);
              CopyRow(host_values, i, features.values);
              CopyRow(host_mean, i, features.mean);
              CopyRow(host_deviation, i, features.inverse_deviation);
            }
          }
        }));
    return records;
  }

  absl::StatusOr<std::vector<float>> Embed(std::span<const View> views) override {
    std::vector<float> embeddings;
    embeddings.reserve(views.size() * 2 * static_cast<size_t>(model_.config.width));
    AFTERIMAGE_RETURN_IF_ERROR(ForEachMicroBatch(
        views, /*with_importance=*/false, [&](std::span<const View> batch, const VitOutput& output) {
          const at::Tensor& last = output.hidden.back();
          const at::Tensor both =
              at::cat({last.select(1, 0), last.slice(1, 1).mean(1)}, 1).to(at::kCPU).contiguous();
          const float* data = both.const_data_ptr<float>();
          embeddings.insert(embeddings.end(), data, data + static_cast<int64_t>(batch.size()) * both.size(1));
        }));
    return embeddings;
  }

 private:
  // The i-th of a batch's equal parts.
  static void CopyRow(const at::Tensor& batch, size_t i, std::vector<float>& target) {
    const int64_t count = batch.numel() / batch.size(0);
    const float* source = batch.const_data_ptr<float>() + static_cast<int64_t>(i) * count;
    target.assign(source, source + count);
  }

  FeatureRecord EmptyRecord(const View& view) const {
    FeatureRecord record;
    record.geometry = view.geometry;
    record.view_digest = view.digest;
    record.view_size = view_size();
    record.grid = static_cast<uint32_t>(model_.config.grid());
    record.tokens.resize(1 + static_cast<size_t>(model_.config.num_patches()));
    std::iota(record.tokens.begin(), record.tokens.end(), uint16_t{0});
    record.pixels = ToPatchMajor(view.pixels, record.grid);
    return record;
  }

  bool ResizesViews() const { return view_size_ != static_cast<uint32_t>(model_.config.image_size); }

  // FillRows of a view that the teacher gets in another size.
  void FillResizedRows(const View& view, size_t i) {
    const int64_t size = view_size_;
    at::Tensor pixels = at::empty({size, size, 3}, at::kFloat);
    float* target = pixels.mutable_data_ptr<float>();
    for (const uint8_t value : view.pixels.pixels) {
      *target = normalized_[static_cast<size_t>(target - pixels.const_data_ptr<float>()) % 3][value];
      ++target;
    }
    const at::Tensor resized = ResizePixels(pixels.permute({2, 0, 1}).unsqueeze(0), model_.config.image_size,
                                            model_.config.image_size);
    rows_[static_cast<int64_t>(i)].copy_(PatchRows(resized, model_.config.patch_size)[0]);
  }

  // Normalised patch rows of one view, inner order (channel, row, column), at position i of the batch.
  void FillRows(const View& view, size_t i) {
    if (ResizesViews()) return FillResizedRows(view, i);
    const int64_t patch = model_.config.patch_size;
    const int64_t grid = model_.config.grid();
    float* target = rows_.mutable_data_ptr<float>() + static_cast<int64_t>(i) * rows_.size(1) * rows_.size(2);
    for (int64_t r = 0; r < grid; ++r) {
      for (int64_t c = 0; c < grid; ++c) {
        for (size_t channel = 0; channel < 3; ++channel) {
          for (int64_t y = 0; y < patch; ++y) {
            const uint8_t* source =
                view.pixels.Row(static_cast<uint32_t>(r * patch + y)) + 3 * c * patch + channel;
            for (int64_t x = 0; x < patch; ++x) *target++ = normalized_[channel][source[3 * x]];
          }
        }
      }
    }
  }

  // Runs the views in batches of exactly micro_batch_ rows, the last one padded with what was there before: a
  // sample's bits do not depend on its neighbours. `consume` gets the views of a batch and the output, whose
  // first rows are theirs.
  template <typename Consume>
  absl::Status ForEachMicroBatch(std::span<const View> views, bool with_importance, Consume consume) {
    for (const View& view : views) {
      if (view.pixels.width != view_size() || view.pixels.height != view_size()) {
        return absl::InvalidArgumentError(absl::StrCat("a view of ", view.pixels.width, " x ",
                                                       view.pixels.height, " pixels, the teacher takes ",
                                                       view_size(), " x ", view_size()));
      }
    }
    return RunTorch([&] {
      const c10::InferenceMode inference;
      // The setting belongs to the calling thread, and Run may be called from another than Load.
      if (num_threads_ > 0 && at::get_num_threads() != num_threads_) at::set_num_threads(num_threads_);
      while (!views.empty()) {
        const auto batch = views.first(std::min(views.size(), static_cast<size_t>(micro_batch_)));
        for (size_t i = 0; i < batch.size(); ++i) FillRows(batch[i], i);
        consume(batch, VitForward(model_.config, model_.parameters, rows_.to(device_),
                                  {.with_importance = with_importance}));
        views = views.subspan(batch.size());
      }
    });
  }

  TeacherModel model_;
  const uint32_t view_size_;
  const Digest256 weights_digest_;
  const at::Device device_;
  const int num_threads_;
  const int64_t micro_batch_;
  at::Tensor rows_;                                     // [micro_batch, N, 3 p p], reused
  std::array<std::array<float, 256>, 3> normalized_{};  // (value / 255 - mean) / std, per channel
};

}  // namespace

absl::StatusOr<std::unique_ptr<TeacherRunner>> TeacherRunner::Load(const TeacherOptions& options) {
  if (options.micro_batch < 1) return absl::InvalidArgumentError("a micro-batch of 0 views");
  if (options.num_threads < 0) return absl::InvalidArgumentError("a negative number of threads");
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                              SafetensorsFile::OpenCheckpoint(options.weights));
  TeacherOptions network = options;
  if (options.input_size > 0) network.image_size = options.input_size;
  AFTERIMAGE_ASSIGN_OR_RETURN(TeacherModel model, LoadTeacherModel(*file, network, at::kFloat));
  AFTERIMAGE_ASSIGN_OR_RETURN(const uint32_t view_size, ViewSize(model, options));
  constexpr int64_t kMaxPatches = 65535;  // tokens are numbered in 16 bits, the class token being 0
  if (model.config.num_patches() > kMaxPatches) {
    return absl::InvalidArgumentError(absl::StrCat("an image size of ", model.config.image_size, " makes ",
                                                   model.config.num_patches(), " patches; at most ",
                                                   kMaxPatches));
  }
  return RunTorch([&]() -> absl::StatusOr<std::unique_ptr<TeacherRunner>> {
    return std::make_unique<TorchTeacherRunner>(std::move(model), view_size,
                                                file->ContentDigest(NonWeightPrefixes()), device, options);
  });
}

}  // namespace afterimage
