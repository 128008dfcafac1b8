#include "core/vit/teacher_families.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/family_reader.h"
#include "core/vit/known_teachers.h"
#include "core/vit/teacher_layouts.h"
#include "core/vit/torch_status.h"
#include "core/vit/tower_location.h"

namespace afterimage {
namespace {

absl::Status CheckClaims(const TeacherSettings& claims, const VitConfig& native) {
  const std::pair<const char*, std::pair<std::optional<int64_t>, int64_t>> checks[] = {
      {"width", {claims.width, native.width}},
      {"patch size", {claims.patch_size, native.patch_size}},
      {"image size", {claims.image_size, native.image_size}},
  };
  for (const auto& [what, values] : checks) {
    if (values.first && *values.first != values.second) {
      return absl::InvalidArgumentError(absl::StrCat("the configuration says ", what, " ", *values.first,
                                                     ", the tensors say ", values.second,
                                                     ": it is of another network"));
    }
  }
  return absl::OkStatus();
}

// Which prefix the options ask for decides what is looked at at all.
WeightViews SelectWeights(const SafetensorsFile& file, const std::string& prefix) {
  WeightViews weights;
  for (const auto& [name, view] : file.tensors()) {
    const std::vector<std::string>& others = NonWeightPrefixes();
    const bool other = std::any_of(others.begin(), others.end(),
                                   [&name = name](const auto& start) { return name.starts_with(start); });
    if (!other && name.starts_with(prefix)) weights[name] = &view;
  }
  return weights;
}

// What the family's files leave unsaid, where there is one answer for this network.
TeacherSettings DefaultsFor(const TeacherLayout& layout, const VitConfig& config,
                            const std::optional<Activation>& activation) {
  TeacherSettings defaults = layout.defaults;
  defaults.heads = KnownHeads(layout.name, config);
  // A timm ViT with a LayerNorm before block 1 is a CLIP: timm's usual eps and activation are not its own.
  if (config.pre_norm && layout.name == "timm_vit") {
    defaults.activation.reset();
    defaults.layer_norm_eps.reset();
  }
  // Of the CLIP L/14 that LAION trained, one takes CLIP's pixels and another takes 0.5 and 0.5.
  constexpr int64_t kLargeWidth = 1024;
  if (layout.name.ends_with("clip") && config.width == kLargeWidth && activation == Activation::kGelu) {
    defaults.mean.reset();
    defaults.std.reset();
  }
  return defaults;
}

// Flags, files beside the weights and defaults, in this order; into `config` and the model's channels.
absl::Status Resolve(const SafetensorsFile& file, const TeacherOptions& options, const TeacherLayout& layout,
                     TeacherModel& model) {
  VitConfig& config = model.config;
  AFTERIMAGE_ASSIGN_OR_RETURN(TeacherSettings settings, SettingsFromOptions(options));
  const bool gated = config.activation == Activation::kSwiGlu;  // the shapes say so
  if (settings.activation && (*settings.activation == Activation::kSwiGlu) != gated) {
    return absl::InvalidArgumentError(
        absl::StrCat("the activation ", options.activation, " is asked for, but the MLP ",
                     gated ? "is gated: its shapes say swiglu" : "has no gate: gelu or quick_gelu"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const TeacherSettings beside,
                              SettingsBesideWeights(file, layout.name, config.width));
  AFTERIMAGE_RETURN_IF_ERROR(CheckClaims(beside, config));
  settings.FillFrom(beside);
  if (gated) settings.activation = Activation::kSwiGlu;  // configurations name that of the MLP without gate
  settings.FillFrom(DefaultsFor(layout, config, settings.activation));
  AFTERIMAGE_RETURN_IF_ERROR(settings.CheckComplete());
  config.heads = *settings.heads;
  config.activation = *settings.activation;
  config.layer_norm_eps = *settings.layer_norm_eps;
  model.mean = *settings.mean;
  model.std = *settings.std;
  for (const double deviation : model.std) {
    if (!(deviation > 0)) return absl::InvalidArgumentError("a std of the input channels is not above 0");
  }
  return config.Validate();
}

absl::StatusOr<TeacherModel> LoadModel(const SafetensorsFile& file, const TeacherOptions& options,
                                       at::ScalarType dtype) {
  const WeightViews weights = SelectWeights(file, options.prefix);
  if (weights.empty() && !options.prefix.empty()) {
    const WeightViews all = SelectWeights(file, "");
    return absl::InvalidArgumentError(
        absl::StrCat("no tensor has the prefix \"", options.prefix, "\"",
                     all.empty() ? std::string() : "; the first name is " + all.begin()->first));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const TowerLocation tower, LocateTower(weights, options.family));
  const TeacherLayout& layout = *tower.layout;
  FamilyReader reader(tower, weights);
  TeacherModel model{.family = layout.name};
  VitConfig& config = model.config;
  AFTERIMAGE_RETURN_IF_ERROR(reader.ReadGeometry(config));
  model.native_grid = config.grid();
  model.position_resize = config.num_registers > 0 ? layout.resize_with_registers : layout.resize;
  AFTERIMAGE_RETURN_IF_ERROR(Resolve(file, options, layout, model));

  AFTERIMAGE_ASSIGN_OR_RETURN(model.parameters, reader.ReadParameters(config, dtype));
  if (options.image_size > 0) {
    config.image_size = options.image_size;
    AFTERIMAGE_RETURN_IF_ERROR(config.Validate());
    at::Tensor& table = model.parameters["pos_embed"];
    table = ResizePositionTable(table, config.grid(), config.grid(), model.position_resize);
  }
  return model;
}

}  // namespace

std::vector<std::string> TeacherFamilyNames() {
  std::vector<std::string> names;
  for (const TeacherLayout& layout : TeacherLayouts()) names.push_back(layout.name);
  return names;
}

const std::vector<std::string>& NonWeightPrefixes() {
  static const auto& prefixes = *new std::vector<std::string>{"input.", "output.", "grad."};
  return prefixes;
}

absl::StatusOr<TeacherModel> LoadTeacherModel(const SafetensorsFile& file, const TeacherOptions& options,
                                              at::ScalarType dtype) {
  absl::StatusOr<TeacherModel> model = RunTorch([&] { return LoadModel(file, options, dtype); });
  if (!model.ok()) return WithContext(model.status(), file.path());
  return model;
}

}  // namespace afterimage
