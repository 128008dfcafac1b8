#include "core/vit/teacher_runner.h"

#include <ATen/ATen.h>

#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/position_tables.h"
#include "core/vit/teacher_batches.h"
#include "core/vit/teacher_families.h"
#include "core/vit/torch_status.h"
#include "core/vit/torchscript_teacher.h"
#include "core/vit/vit.h"

namespace afterimage {
namespace {

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
        micro_batch_(options.micro_batch),
        normalized_(NormalizeValues(model_.mean, model_.std)) {
    for (auto& [name, tensor] : model_.parameters) tensor = tensor.to(device_).contiguous();
    const auto size = static_cast<int64_t>(model_.config.patch_size);
    // Pinned memory would need the CUDA library at run time; the copy is small beside the forward.
    rows_ = at::zeros({micro_batch_, model_.config.num_patches(), 3 * size * size}, at::kFloat);
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
    return PixelSpec(ResizesViews() ? PositionResizeName(PositionResize::kSize) : "none", model_.mean,
                     model_.std, model_.config.image_size);
  }

  uint32_t view_size() const override { return view_size_; }
  uint32_t micro_batch() const override { return static_cast<uint32_t>(micro_batch_); }

  std::string DeviceDescription() const override { return DescribeTorchDevice(device_, num_threads_); }

  double ForwardMacs() const override { return VitForwardMacs(model_.config, model_.config.num_patches()); }

  absl::StatusOr<std::vector<FeatureRecord>> Run(std::span<const View> views,
                                                 std::span<const uint32_t> levels) override {
    AFTERIMAGE_RETURN_IF_ERROR(CheckLevels(levels, model_.config.depth));
    std::vector<FeatureRecord> records;
    records.reserve(views.size());
    AFTERIMAGE_RETURN_IF_ERROR(
        Forward(views, /*with_importance=*/true, [&](std::span<const View> batch, const VitOutput& output) {
          const size_t first = records.size();
          for (const View& view : batch) {
            records.push_back(EmptyRecord(view, view_size_, static_cast<uint32_t>(model_.config.grid())));
          }
          const std::span<FeatureRecord> made = std::span(records).subspan(first);
          SetImportance(output.importance, made);
          for (const uint32_t level : levels) AppendLevel(output.hidden[level], level, made);
        }));
    return records;
  }

  absl::StatusOr<std::vector<float>> Embed(std::span<const View> views) override {
    std::vector<float> embeddings;
    embeddings.reserve(views.size() * 2 * static_cast<size_t>(model_.config.width));
    AFTERIMAGE_RETURN_IF_ERROR(
        Forward(views, /*with_importance=*/false, [&](std::span<const View> batch, const VitOutput& output) {
          AppendEmbeddings(output.hidden.back(), batch.size(), embeddings);
        }));
    return embeddings;
  }

 private:
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

  // `consume` gets the views of a batch and the output, whose first rows are theirs.
  template <typename Consume>
  absl::Status Forward(std::span<const View> views, bool with_importance, Consume consume) {
    return ForEachMicroBatch(
        views, view_size_, static_cast<size_t>(micro_batch_), num_threads_,
        [this](const View& view, size_t i) { FillRows(view, i); },
        [&](std::span<const View> batch) {
          consume(batch, VitForward(model_.config, model_.parameters, rows_.to(device_),
                                    {.with_importance = with_importance}));
          return absl::OkStatus();
        });
  }

  TeacherModel model_;
  const uint32_t view_size_;
  const Digest256 weights_digest_;
  const at::Device device_;
  const int num_threads_;
  const int64_t micro_batch_;
  const NormalizedValues normalized_;
  at::Tensor rows_;  // [micro_batch, N, 3 p p], reused
};

}  // namespace

absl::StatusOr<std::unique_ptr<TeacherRunner>> TeacherRunner::Load(const TeacherOptions& options) {
  if (options.micro_batch < 1) return absl::InvalidArgumentError("a micro-batch of 0 views");
  if (options.num_threads < 0) return absl::InvalidArgumentError("a negative number of threads");
  AFTERIMAGE_ASSIGN_OR_RETURN(const bool is_torchscript, IsTorchScriptTeacher(options));
  if (is_torchscript) return LoadTorchScriptTeacher(options);
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                              SafetensorsFile::OpenCheckpoint(options.weights));
  // Hashing takes as long as all else here, and nothing waits for it.
  std::future<Digest256> digest =
      std::async(std::launch::async, [file] { return file->ContentDigest(NonWeightPrefixes()); });
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
    return std::make_unique<TorchTeacherRunner>(std::move(model), view_size, digest.get(), device, options);
  });
}

}  // namespace afterimage
