#include "core/vit/torchscript_teacher.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/vit/teacher_batches.h"
#include "core/vit/torchscript_description.h"
#include "core/vit/torchscript_module.h"

namespace afterimage {
namespace {

constexpr char kImportance[] = "importance";

std::string SizesText(const at::Tensor& tensor) {
  return absl::StrCat("[", absl::StrJoin(tensor.sizes(), ", "), "]");
}

// One forward: levels as [B, 1 + N, D] float, importance [B, N] float.
struct Outputs {
  std::vector<at::Tensor> levels;
  at::Tensor importance;
};

class TorchScriptTeacher : public TeacherRunner {
 public:
  TorchScriptTeacher(std::unique_ptr<TorchScriptModule> module, TorchScriptDescription description,
                     at::Device device, const TeacherOptions& options)
      : module_(std::move(module)),
        description_(std::move(description)),
        device_(device),
        num_threads_(options.num_threads),
        micro_batch_(options.micro_batch),
        normalized_(NormalizeValues(description_.mean, description_.std)),
        pixels_(at::zeros({micro_batch_, 3, description_.size, description_.size}, at::kFloat)) {}

  // Finds the width, and that the bits of a picture depend on nothing but the picture.
  absl::Status Probe() {
    if (num_threads_ > 0 && at::get_num_threads() != num_threads_) at::set_num_threads(num_threads_);
    return RunTorch([&]() -> absl::Status {
      const at::Tensor pictures = at::stack({Ramp(1), Ramp(7)});
      const at::Tensor first = at::cat(
          {pictures[0].unsqueeze(0), pictures[1].unsqueeze(0).expand({micro_batch_ - 1, -1, -1, -1})});
      AFTERIMAGE_ASSIGN_OR_RETURN(const Outputs straight, Forward(first.contiguous()));
      width_ = straight.levels.front().size(-1);
      AFTERIMAGE_ASSIGN_OR_RETURN(const Outputs reversed, Forward(first.flip(0).contiguous()));
      for (size_t level = 0; level < straight.levels.size(); ++level) {
        if (at::equal(straight.levels[level][0], reversed.levels[level][micro_batch_ - 1])) continue;
        return absl::InvalidArgumentError(absl::StrCat(
            "the result for a picture depends on its place and neighbours in the batch (level \"",
            description_.levels[level],
            "\"): save the module in evaluation mode, or use a micro-batch of 1 (--micro-batch 1)"));
      }
      return absl::OkStatus();
    });
  }

  TeacherGeometry geometry() const override {
    return {.num_levels = static_cast<uint32_t>(description_.levels.size()),
            .width = static_cast<uint32_t>(width_),
            .grid = static_cast<uint32_t>(description_.grid)};
  }

  Json TeacherSpec() const override {
    return {
        {"architecture",
         {{"class_row", description_.class_token ? "class_token" : "patch_mean"},
          {"levels", description_.levels}}},
        {"family", "torchscript"},
        {"importance", description_.importance ? "module" : kNoImportance},
        {"precision", "f32"},
        {"weights", module_->content_digest().Hex()},
    };
  }

  Json PreprocessingSpec() const override {
    return PixelSpec("none", description_.mean, description_.std, description_.size);
  }

  uint32_t view_size() const override { return static_cast<uint32_t>(description_.size); }
  uint32_t micro_batch() const override { return static_cast<uint32_t>(micro_batch_); }
  std::string DeviceDescription() const override { return DescribeTorchDevice(device_, num_threads_); }
  double ForwardMacs() const override { return 0; }

  absl::StatusOr<std::vector<FeatureRecord>> Run(std::span<const View> views,
                                                 std::span<const uint32_t> levels) override {
    AFTERIMAGE_RETURN_IF_ERROR(CheckLevels(levels, static_cast<int64_t>(description_.levels.size())));
    std::vector<FeatureRecord> records;
    records.reserve(views.size());
    AFTERIMAGE_RETURN_IF_ERROR(ForEachBatch(views, [&](std::span<const View> batch, const Outputs& outputs) {
      const size_t first = records.size();
      for (const View& view : batch) {
        records.push_back(EmptyRecord(view, view_size(), static_cast<uint32_t>(description_.grid)));
      }
      const std::span<FeatureRecord> made = std::span(records).subspan(first);
      SetImportance(outputs.importance, made);
      for (const uint32_t level : levels) AppendLevel(outputs.levels[level - 1], level, made);
    }));
    return records;
  }

  absl::StatusOr<std::vector<float>> Embed(std::span<const View> views) override {
    std::vector<float> embeddings;
    AFTERIMAGE_RETURN_IF_ERROR(ForEachBatch(views, [&](std::span<const View> batch, const Outputs& outputs) {
      AppendEmbeddings(outputs.levels.back(), batch.size(), embeddings);
    }));
    return embeddings;
  }

 private:
  int64_t num_patches() const { return description_.grid * description_.grid; }

  // Something to look at, other values for other steps.
  at::Tensor Ramp(int64_t step) const {
    const int64_t count = 3 * description_.size * description_.size;
    return (at::arange(count, at::kFloat) * static_cast<double>(step) / 97.0)
        .sin()
        .view({3, description_.size, description_.size});
  }

  template <typename Consume>
  absl::Status ForEachBatch(std::span<const View> views, Consume consume) {
    return ForEachMicroBatch(
        views, view_size(), static_cast<size_t>(micro_batch_), num_threads_,
        [this](const View& view, size_t i) { FillPixels(view, i); },
        [&](std::span<const View> batch) -> absl::Status {
          AFTERIMAGE_ASSIGN_OR_RETURN(const Outputs outputs, Forward(pixels_));
          consume(batch, outputs);
          return absl::OkStatus();
        });
  }

  // Normalised planes of one view at place i of the batch.
  void FillPixels(const View& view, size_t i) {
    const auto area = static_cast<size_t>(description_.size * description_.size);
    float* const target = pixels_.mutable_data_ptr<float>() + 3 * area * i;
    for (size_t pixel = 0; pixel < area; ++pixel) {
      for (size_t channel = 0; channel < 3; ++channel) {
        target[channel * area + pixel] = normalized_[channel][view.pixels.pixels[3 * pixel + channel]];
      }
    }
  }

  absl::StatusOr<Outputs> Forward(const at::Tensor& pixels) {
    AFTERIMAGE_ASSIGN_OR_RETURN(TorchScriptOutput raw, module_->Forward(pixels.to(device_)));
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<at::Tensor> tensors, InOrder(std::move(raw)));
    Outputs outputs;
    if (description_.importance) {
      AFTERIMAGE_ASSIGN_OR_RETURN(outputs.importance, CheckedImportance(tensors.back()));
      tensors.pop_back();
    } else {
      outputs.importance = at::full({micro_batch_, num_patches()}, 1.0 / static_cast<double>(num_patches()));
    }
    for (size_t i = 0; i < tensors.size(); ++i) {
      AFTERIMAGE_ASSIGN_OR_RETURN(outputs.levels.emplace_back(), ToRows(tensors[i], description_.levels[i]));
    }
    return outputs;
  }

  // The levels in the description's order, then the importance where there is one.
  absl::StatusOr<std::vector<at::Tensor>> InOrder(TorchScriptOutput raw) const {
    std::vector<std::string> names = description_.levels;
    if (description_.importance) names.push_back(kImportance);
    const size_t count = raw.is_dictionary ? raw.named.size() : raw.ordered.size();
    if (count != names.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the module returns ", count,
                                                     " tensors, its description has ", names.size(), ": ",
                                                     absl::StrJoin(names, ", ")));
    }
    if (!raw.is_dictionary) return std::move(raw.ordered);
    std::vector<at::Tensor> tensors;
    for (const std::string& name : names) {
      const auto found = raw.named.find(name);
      if (found == raw.named.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("the module returns no \"", name, "\", which its description has"));
      }
      tensors.push_back(found->second);
    }
    return tensors;
  }

  // A level as rows, class row first.
  absl::StatusOr<at::Tensor> ToRows(const at::Tensor& level, const std::string& name) const {
    const int64_t grid = description_.grid;
    const int64_t rows = num_patches() + (description_.class_token ? 1 : 0);
    const bool map =
        level.dim() == 4 && !description_.class_token && level.size(2) == grid && level.size(3) == grid;
    const bool tokens = level.dim() == 3 && level.size(1) == rows;
    if (!level.is_floating_point() || (!map && !tokens) || level.size(0) != micro_batch_ ||
        (width_ > 0 && level.size(map ? 1 : 2) != width_)) {
      const std::string width = width_ > 0 ? absl::StrCat(width_) : "D";
      return absl::InvalidArgumentError(
          absl::StrCat("level \"", name, "\" is ", at::toString(level.scalar_type()), " ", SizesText(level),
                       ", the description wants floating point [", micro_batch_, ", ", rows, ", ", width, "]",
                       description_.class_token
                           ? ""
                           : absl::StrCat(" or [", micro_batch_, ", ", width, ", ", grid, ", ", grid, "]"),
                       ", the same width in all levels"));
    }
    at::Tensor values = (map ? level.flatten(2).transpose(1, 2) : level).to(at::kFloat).contiguous();
    if (!values.isfinite().all().item<bool>()) {
      return absl::InvalidArgumentError(absl::StrCat("level \"", name, "\" holds NaN or infinity"));
    }
    if (description_.class_token) return values;
    return at::cat({values.mean(1, /*keepdim=*/true), values}, 1);
  }

  absl::StatusOr<at::Tensor> CheckedImportance(const at::Tensor& importance) const {
    if (!importance.is_floating_point() ||
        importance.sizes() != at::IntArrayRef({micro_batch_, num_patches()})) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the importance is ", at::toString(importance.scalar_type()), " ", SizesText(importance),
          ", the description wants floating point [", micro_batch_, ", ", num_patches(), "]"));
    }
    at::Tensor values = importance.to(at::kFloat);
    if (!values.isfinite().logical_and(values >= 0).all().item<bool>()) {
      return absl::InvalidArgumentError(
          "the importance holds something else than finite values of at least 0");
    }
    return values;
  }

  const std::unique_ptr<TorchScriptModule> module_;
  const TorchScriptDescription description_;
  const at::Device device_;
  const int num_threads_;
  const int64_t micro_batch_;
  const NormalizedValues normalized_;
  at::Tensor pixels_;  // [micro_batch, 3, size, size], reused
  int64_t width_ = 0;  // 0 until the module has told it
};

absl::Status CheckOptions(const TeacherOptions& options, const TorchScriptDescription& description) {
  const std::pair<const char*, bool> given[] = {{"--teacher-heads", options.num_heads > 0},
                                                {"--teacher-activation", !options.activation.empty()},
                                                {"--teacher-eps", !options.layer_norm_eps.empty()},
                                                {"--teacher-prefix", !options.prefix.empty()},
                                                {"--teacher-mean", !options.mean.empty()},
                                                {"--teacher-std", !options.std.empty()},
                                                {"--teacher-input-size", options.input_size > 0}};
  for (const auto& [flag, is_given] : given) {
    if (!is_given) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " does not apply to a TorchScript teacher: its description (",
                     TorchScriptDescriptionPath(options.weights), ") and its code say everything"));
  }
  if (options.image_size > 0 && options.image_size != description.size) {
    return absl::InvalidArgumentError(absl::StrCat("views of ", options.image_size,
                                                   " pixels are asked for, this TorchScript teacher takes ",
                                                   description.size, ": trace it again at another size"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> IsTorchScriptTeacher(const TeacherOptions& options) {
  const std::string suffix = std::filesystem::path(options.weights).extension().string();
  const bool script = suffix == ".pt" || suffix == ".ts" || suffix == ".torchscript";
  const bool pickle = suffix == ".pth" || suffix == ".bin" || suffix == ".ckpt";
  if (options.family == "torchscript" || (script && options.family.empty())) return true;
  if (!script && !pickle) return false;
  return absl::InvalidArgumentError(absl::StrCat(
      options.weights,
      ": PyTorch's own files are pickles, which may run code when they are read, and are not read "
      "here: convert the weights to .safetensors (docs/teachers.md has the command)",
      script ? ", or leave out --teacher-family if it is a TorchScript module" : ""));
}

absl::StatusOr<std::unique_ptr<TeacherRunner>> LoadTorchScriptTeacher(const TeacherOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<TorchScriptModule> module,
                              TorchScriptModule::Load(options.weights, device));
  AFTERIMAGE_ASSIGN_OR_RETURN(TorchScriptDescription description,
                              ReadTorchScriptDescription(TorchScriptDescriptionPath(options.weights)));
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options, description));
  auto teacher =
      std::make_unique<TorchScriptTeacher>(std::move(module), std::move(description), device, options);
  if (absl::Status probed = teacher->Probe(); !probed.ok()) return WithContext(probed, options.weights);
  return teacher;
}

}  // namespace afterimage
