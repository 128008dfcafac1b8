// What a teacher's tensors do not say: heads, activation, eps and input normalisation.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"

namespace afterimage {

// The metadata entry under which our trainer describes the networks that it exports: a JSON object with any
// of image_size, patch_size, heads, activation, layer_norm_eps, mean, std. Numbers may be written as decimal
// strings; mean and std are lists of three or comma-separated text.
inline constexpr char kConfigMetadataKey[] = "afterimage.config";

using ChannelValues = std::array<double, 3>;  // red, green, blue, of pixels scaled to 0..1

struct TeacherSettings {
  std::optional<int64_t> heads;
  std::optional<Activation> activation;
  std::optional<double> layer_norm_eps;
  std::optional<ChannelValues> mean;
  std::optional<ChannelValues> std;
  // Not settings but claims, checked against the tensors.
  std::optional<int64_t> width;
  std::optional<int64_t> image_size;
  std::optional<int64_t> patch_size;

  // Takes from `other` what is not set here.
  void FillFrom(const TeacherSettings& other);
  // InvalidArgument lists all that is still unknown with the choices there are, how to say it by flag and in
  // which file it would be found.
  absl::Status CheckComplete() const;
};

// Three numbers, or decimals as text, also in one comma-separated text.
absl::StatusOr<ChannelValues> ParseChannelValues(const Json& value);

// InvalidArgument names the option that cannot be read.
absl::StatusOr<TeacherSettings> SettingsFromOptions(const TeacherOptions& options);

// From the file's own metadata, else from config.json or open_clip_config.json beside it (Hugging Face:
// transformers, timm, open_clip; the one that belongs to `family` first) and preprocessor_config.json;
// `width` is the network's, which open_clip's head count derives from. Where none of them exists everything
// is unset. InvalidArgument names a file that cannot be read as such.
absl::StatusOr<TeacherSettings> SettingsBesideWeights(const SafetensorsFile& file, const std::string& family,
                                                      int64_t width);

}  // namespace afterimage
