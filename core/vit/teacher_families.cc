#include "core/vit/teacher_families.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"
#include "core/vit/teacher_layouts.h"
#include "core/vit/tensor_file.h"
#include "core/vit/torch_status.h"

namespace afterimage {
namespace {

using Weights = std::map<std::string, const TensorView*>;

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

bool StartsWithAny(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const auto& prefix) { return name.starts_with(prefix); });
}

absl::StatusOr<const TeacherLayout*> FindFamily(const Weights& weights, const std::string& asked) {
  if (!asked.empty()) {
    for (const TeacherLayout& family : TeacherLayouts()) {
      if (family.name == asked) return &family;
    }
    return absl::InvalidArgumentError(absl::StrCat("unknown teacher family \"", asked,
                                                   "\"; known: ", absl::StrJoin(TeacherFamilyNames(), ", ")));
  }
  for (const TeacherLayout& family : TeacherLayouts()) {
    if (!family.recognised) continue;
    for (const std::string& prefix : family.prefixes) {
      if (weights.contains(prefix + family.signature)) return &family;
    }
  }
  std::vector<std::string> known;
  for (const TeacherLayout& family : TeacherLayouts()) {
    if (family.recognised) known.push_back(absl::StrCat(family.name, " (has ", family.signature, ")"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the tensor names are of no teacher family that is known: ", absl::StrJoin(known, ", "),
                   weights.empty() ? "; no tensor at all" : "", weights.empty() ? "" : "; the first name is ",
                   weights.empty() ? "" : weights.begin()->first));
}

// Reads one file as one family. The first error wins.
class FamilyReader {
 public:
  FamilyReader(const TeacherLayout& family, Weights weights) : family_(family), weights_(std::move(weights)) {
    prefix_ = family.prefixes.back();
    for (const std::string& prefix : family.prefixes) {
      if (weights_.contains(prefix + FileName("patch_embed.proj.weight", 0))) {
        prefix_ = prefix;
        break;
      }
    }
  }

  // Fills in what shapes and names say; image_size is the native one.
  absl::Status ReadGeometry(VitConfig& config) const {
    AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const patch, Find("patch_embed.proj.weight", 0));
    if (patch->shape.size() != 4 || patch->shape[1] != 3 || patch->shape[2] != patch->shape[3] ||
        patch->shape[0] < 1 || patch->shape[2] < 1) {
      return WrongShape("patch_embed.proj.weight", 0, *patch, "[width, 3, patch, patch]");
    }
    config.width = patch->shape[0];
    config.patch_size = patch->shape[2];

    AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const table, Find("pos_embed", 0));
    const int64_t rows = table->shape.size() < 2 ? 0 : table->shape[table->shape.size() - 2];
    const int64_t grid = std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(rows - 1, 0))));
    if (grid < 1 || 1 + grid * grid != rows || table->shape.back() != config.width) {
      return WrongShape("pos_embed", 0, *table,
                        absl::StrCat("[1 + grid * grid, ", config.width, "], class row first"));
    }
    config.image_size = grid * config.patch_size;

    config.depth = CountBlocks();
    if (config.depth == 0) return Missing(prefix_ + FileName("blocks.#.norm1.weight", 0), {config.width});
    AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const fc1, Find("blocks.#.mlp.fc1.weight", 0));
    if (fc1->shape.size() != 2 || fc1->shape[0] < 1) {
      return WrongShape("blocks.#.mlp.fc1.weight", 0, *fc1, absl::StrCat("[MLP width, ", config.width, "]"));
    }
    config.mlp_width = fc1->shape[0];
    config.pre_norm = Expects("norm_pre.weight", "norm_pre.bias");
    // A timm ViT without patch bias is a CLIP, which also has the LayerNorm before block 1.
    config.patch_bias = Expects("patch_embed.proj.bias", config.pre_norm ? "" : "cls_token");
    config.layer_scale = Expects("blocks.#.ls1.gamma", "blocks.#.ls2.gamma");
    return absl::OkStatus();
  }

  // All tensors of `config` under our names, with the file's position table. Every tensor of the file must
  // have been asked for or be known not to matter.
  absl::StatusOr<ParameterMap> ReadParameters(const VitConfig& config, at::ScalarType dtype) {
    ParameterMap parameters;
    for (const auto& [name, shape] : VitParameterShapes(config)) {
      AFTERIMAGE_ASSIGN_OR_RETURN(parameters[name], ReadParameter(name, shape, dtype));
    }
    for (const auto& [name, view] : weights_) {
      if (used_.contains(name) || StartsWithAny(name, family_.ignored)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\" of shape ", ShapeText(view->shape), " is no part of a ", family_.name,
          " of width ", config.width, ", depth ", config.depth, ": leave it out, or name another family"));
    }
    return parameters;
  }

 private:
  // The file's name (without prefix) of one of ours, or empty.
  std::string FileName(const std::string& ours, int64_t block) const {
    for (const NameRule& rule : family_.rules) {
      if (rule.ours == ours) return absl::StrReplaceAll(rule.file, {{"#", absl::StrCat(block)}});
    }
    return "";
  }

  bool Has(const std::string& ours) const {
    const std::string name = FileName(ours, 0);
    return !name.empty() && weights_.contains(prefix_ + name);
  }

  // Whether this file must hold `ours`: its family always does, or may and it or `companion` is there.
  bool Expects(const std::string& ours, const std::string& companion) const {
    if (FileName(ours, 0).empty()) return false;
    return !StartsWithAny(ours, family_.optional) || Has(ours) || Has(companion);
  }

  absl::StatusOr<const TensorView*> Find(const std::string& ours, int64_t block) const {
    const std::string name = prefix_ + FileName(ours, block);
    const auto found = weights_.find(name);
    if (found == weights_.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", name, "\" is missing from this ", family_.name));
    }
    return found->second;
  }

  absl::Status Missing(const std::string& name, const std::vector<int64_t>& shape) const {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" of shape ", ShapeText(shape),
                                                   " is missing from this ", family_.name));
  }

  absl::Status WrongShape(const std::string& ours, int64_t block, const TensorView& view,
                          const std::string& wanted) const {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", prefix_, FileName(ours, block),
                                                   "\" has shape ", ShapeText(view.shape), ", this ",
                                                   family_.name, " wants ", wanted));
  }

  // Different block numbers among the names; a gap shows up as a missing tensor.
  int64_t CountBlocks() const {
    const std::string pattern = [this] {
      for (const NameRule& rule : family_.rules) {
        if (rule.ours == "blocks.#.norm1.weight") return rule.file;
      }
      return std::string("#");
    }();
    const std::string stem = prefix_ + pattern.substr(0, pattern.find('#'));
    std::set<std::string> numbers;
    for (auto it = weights_.lower_bound(stem); it != weights_.end() && it->first.starts_with(stem); ++it) {
      const std::string rest = it->first.substr(stem.size());
      numbers.insert(rest.substr(0, rest.find('.')));
    }
    return static_cast<int64_t>(numbers.size());
  }

  absl::StatusOr<at::Tensor> ReadParameter(const std::string& name, const std::vector<int64_t>& shape,
                                           at::ScalarType dtype) {
    std::string ours = name;
    int64_t block = 0;
    if (absl::string_view rest = name; absl::ConsumePrefix(&rest, "blocks.")) {
      const size_t dot = rest.find('.');
      if (!absl::SimpleAtoi(rest.substr(0, dot), &block)) return absl::InternalError(name);
      ours = absl::StrCat("blocks.#", rest.substr(dot));
    }
    if (!FileName(ours, block).empty()) return ReadTensor(FileName(ours, block), shape, dtype);

    // Three projections, whose rows make up our one.
    std::vector<int64_t> third = shape;
    third[0] /= 3;
    std::vector<at::Tensor> parts;
    for (const char* part : {"attn.q", "attn.k", "attn.v"}) {
      const std::string separate = absl::StrReplaceAll(ours, {{"attn.qkv", part}});
      AFTERIMAGE_ASSIGN_OR_RETURN(parts.emplace_back(), ReadTensor(FileName(separate, block), third, dtype));
    }
    return at::cat(parts, 0);
  }

  absl::StatusOr<at::Tensor> ReadTensor(const std::string& file_name, const std::vector<int64_t>& shape,
                                        at::ScalarType dtype) {
    const std::string name = prefix_ + file_name;
    const auto found = weights_.find(name);
    if (found == weights_.end()) return Missing(name, shape);
    const TensorView& view = *found->second;
    // Families differ in leading ones: [D] or [1, 1, D].
    const auto core = [](const std::vector<int64_t>& full) {
      return std::vector<int64_t>(std::find_if(full.begin(), full.end(), [](int64_t n) { return n != 1; }),
                                  full.end());
    };
    if (core(view.shape) != core(shape)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" has shape ",
                                                     ShapeText(view.shape), ", this ", family_.name,
                                                     " wants ", ShapeText(shape)));
    }
    if (view.type != TensorType::kF64 && view.type != TensorType::kF32 && view.type != TensorType::kF16 &&
        view.type != TensorType::kBF16) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" is of type ",
                                                     TensorTypeName(view.type), ", not floating point"));
    }
    used_.insert(name);
    return ToTensor(view, dtype).view(shape);
  }

  const TeacherLayout& family_;
  const Weights weights_;
  std::string prefix_;
  std::set<std::string> used_;
};

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

absl::StatusOr<TeacherModel> LoadModel(const SafetensorsFile& file, const TeacherOptions& options,
                                       at::ScalarType dtype, const std::string& prefix) {
  Weights weights;
  for (const auto& [name, view] : file.tensors()) {
    if (name.starts_with(prefix) && !StartsWithAny(name, NonWeightPrefixes()))
      weights[name.substr(prefix.size())] = &view;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const TeacherLayout* const family, FindFamily(weights, options.family));
  FamilyReader reader(*family, std::move(weights));
  TeacherModel model{.family = family->name, .position_resize = family->resize};
  VitConfig& config = model.config;
  AFTERIMAGE_RETURN_IF_ERROR(reader.ReadGeometry(config));
  model.native_grid = config.grid();

  AFTERIMAGE_ASSIGN_OR_RETURN(TeacherSettings settings, SettingsFromOptions(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const TeacherSettings beside, SettingsBesideWeights(file, config.width));
  AFTERIMAGE_RETURN_IF_ERROR(CheckClaims(beside, config));
  settings.FillFrom(beside);
  TeacherSettings defaults = family->defaults;
  // A timm ViT with a LayerNorm before block 1 is a CLIP: timm's usual eps and activation are not its own.
  if (config.pre_norm && family->name == "timm_vit") {
    defaults.activation.reset();
    defaults.layer_norm_eps.reset();
  }
  settings.FillFrom(defaults);
  AFTERIMAGE_RETURN_IF_ERROR(settings.CheckComplete());
  config.heads = *settings.heads;
  config.activation = *settings.activation;
  config.layer_norm_eps = *settings.layer_norm_eps;
  model.mean = *settings.mean;
  model.std = *settings.std;
  for (const double deviation : model.std) {
    if (!(deviation > 0)) return absl::InvalidArgumentError("a std of the input channels is not above 0");
  }
  AFTERIMAGE_RETURN_IF_ERROR(config.Validate());

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
  for (const TeacherLayout& family : TeacherLayouts()) names.push_back(family.name);
  return names;
}

const std::vector<std::string>& NonWeightPrefixes() {
  static const auto& prefixes = *new std::vector<std::string>{"input.", "output.", "grad."};
  return prefixes;
}

absl::StatusOr<TeacherModel> LoadTeacherModel(const SafetensorsFile& file, const TeacherOptions& options,
                                              at::ScalarType dtype, const std::string& prefix) {
  absl::StatusOr<TeacherModel> model = RunTorch([&] { return LoadModel(file, options, dtype, prefix); });
  if (!model.ok())
    return WithContext(model.status(), absl::StrCat(file.path(), prefix.empty() ? "" : ", ", prefix));
  return model;
}

}  // namespace afterimage
