#include "core/vit/family_reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors_format.h"
#include "core/vit/tensor_file.h"

namespace afterimage {
namespace {

using safetensors::ShapeText;

bool StartsWithAny(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const auto& prefix) { return name.starts_with(prefix); });
}

bool IsFloating(TensorType type) {
  return type == TensorType::kF64 || type == TensorType::kF32 || type == TensorType::kF16 ||
         type == TensorType::kBF16;
}

}  // namespace

FamilyReader::FamilyReader(const TowerLocation& tower, const WeightViews& weights)
    : layout_(*tower.layout), weights_(weights), wrapper_(tower.wrapper), prefix_(wrapper_ + tower.prefix) {}

absl::Status FamilyReader::ReadGeometry(VitConfig& config) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const patch, Find("patch_embed.proj.weight"));
  if (patch->shape.size() != 4 || patch->shape[1] != 3 || patch->shape[2] != patch->shape[3] ||
      patch->shape[0] < 1 || patch->shape[2] < 1) {
    return WrongShape("patch_embed.proj.weight", *patch, "[width, 3, patch, patch]");
  }
  config.width = patch->shape[0];
  config.patch_size = patch->shape[2];
  config.num_registers = 0;
  if (Expects("reg_token", "")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const registers, Find("reg_token"));
    const std::vector<int64_t>& shape = registers->shape;
    if (shape.size() < 2 || shape.back() != config.width || shape[shape.size() - 2] < 1) {
      return WrongShape("reg_token", *registers, absl::StrCat("[1, registers, ", config.width, "]"));
    }
    config.num_registers = shape[shape.size() - 2];
  }
  AFTERIMAGE_RETURN_IF_ERROR(ReadGrid(config));

  config.depth = CountBlocks();
  if (config.depth == 0) return Missing(prefix_ + FileName("blocks.#.norm1.weight", 0), {config.width});
  AFTERIMAGE_RETURN_IF_ERROR(ReadMlp(config));
  config.pre_norm = Expects("norm_pre.weight", "norm_pre.bias");
  // A timm ViT without patch bias is a CLIP, which also has the LayerNorm before block 1.
  config.patch_bias = Expects("patch_embed.proj.bias", config.pre_norm ? "" : "cls_token");
  config.layer_scale = Expects("blocks.#.ls1.gamma", "blocks.#.ls2.gamma");
  return absl::OkStatus();
}

// The grid whose square, with the rows before it, makes up the position table.
absl::Status FamilyReader::ReadGrid(VitConfig& config) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const table, Find("pos_embed"));
  const int64_t rows = table->shape.size() < 2 ? 0 : table->shape[table->shape.size() - 2];
  std::set<int64_t> candidates;
  switch (layout_.position_rows) {
    case PositionRows::kClass:
      candidates = {1};
      break;
    case PositionRows::kClassAndAll:
      candidates = {1 + config.num_registers};
      break;
    case PositionRows::kVaries:
      candidates = {0, 1, 1 + config.num_registers};
      break;
  }
  std::vector<std::string> found;
  for (const int64_t before : candidates) {
    const int64_t grid = std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(rows - before, 0))));
    if (grid < 1 || before + grid * grid != rows) continue;
    found.push_back(absl::StrCat(before, " + ", grid, " x ", grid));
    rows_before_patches_ = before;
    config.image_size = grid * config.patch_size;
  }
  if (found.size() > 1) {
    return WrongShape("pos_embed", *table,
                      absl::StrCat("which may mean ", absl::StrJoin(found, " or "),
                                   " rows: an image size with one meaning"));
  }
  if (found.empty() || table->shape.back() != config.width) {
    return WrongShape("pos_embed", *table,
                      absl::StrCat("[", absl::StrJoin(candidates, " or "), " + grid * grid, ", config.width,
                                   "], class row first"));
  }
  return absl::OkStatus();
}

absl::Status FamilyReader::ReadMlp(VitConfig& config) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const fc1, Find("blocks.#.mlp.fc1.weight"));
  if (fc1->shape.size() != 2 || fc1->shape[0] < 1) {
    return WrongShape("blocks.#.mlp.fc1.weight", *fc1, absl::StrCat("[MLP width, ", config.width, "]"));
  }
  config.mlp_width = fc1->shape[0];
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const fc2, Find("blocks.#.mlp.fc2.weight"));
  const bool gated = fc2->shape.size() == 2 && fc2->shape[0] == config.width && fc2->shape[1] > 0 &&
                     fc2->shape[1] == config.mlp_width / 2 && config.mlp_width % 2 == 0;
  if (gated) {
    config.mlp_width /= 2;
    config.activation = Activation::kSwiGlu;
  }
  return absl::OkStatus();
}

absl::StatusOr<ParameterMap> FamilyReader::ReadParameters(const VitConfig& config, at::ScalarType dtype) {
  ParameterMap parameters;
  for (const auto& [name, shape] : VitParameterShapes(config)) {
    if (name == "pos_embed") continue;
    AFTERIMAGE_ASSIGN_OR_RETURN(parameters[name], ReadParameter(name, shape, dtype));
  }
  AFTERIMAGE_RETURN_IF_ERROR(ReadPositions(config, dtype, parameters));
  AFTERIMAGE_RETURN_IF_ERROR(CheckNothingIsLeft(config));
  return parameters;
}

absl::Status FamilyReader::ReadPositions(const VitConfig& config, at::ScalarType dtype,
                                         ParameterMap& parameters) {
  const int64_t before = rows_before_patches_;
  const std::vector<int64_t> shape = {1, before + config.num_patches(), config.width};
  AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView* const view, Take(FileName("pos_embed", 0), shape));
  at::Tensor table = at::empty(shape, dtype);
  CopyValues(*view, table);
  if (before == 0) {
    table = at::cat({at::zeros({1, 1, config.width}, table.options()), table}, 1);
  } else if (before > 1) {
    at::Tensor& registers = parameters["reg_token"];
    registers = registers + table.slice(1, 1, before);
    table = at::cat({table.slice(1, 0, 1), table.slice(1, before)}, 1);
  }
  parameters["pos_embed"] = std::move(table);
  return absl::OkStatus();
}

absl::Status FamilyReader::CheckNothingIsLeft(const VitConfig& config) const {
  for (const auto& [name, view] : weights_) {
    if (used_.contains(name)) continue;
    if (!name.starts_with(wrapper_)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", name, "\" lies outside \"", wrapper_, "\", where the ", layout_.name,
                       " is: leave it out, or say that prefix (--teacher-prefix ", wrapper_, ")"));
    }
    const bool inside = name.starts_with(prefix_);
    if (inside && StartsWithAny(name.substr(prefix_.size()), layout_.ignored)) continue;
    if (!inside && StartsWithAny(name.substr(wrapper_.size()), layout_.ignored_outside)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", name, "\" of shape ", ShapeText(view->shape), " is no part of a ", layout_.name,
        " of width ", config.width, ", depth ", config.depth, ": leave it out, or name another family"));
  }
  return absl::OkStatus();
}

// The file's name (without prefix) of one of ours, or empty.
std::string FamilyReader::FileName(const std::string& ours, int64_t block) const {
  return OfBlock(FileNameOf(layout_, weights_, prefix_, ours), block);
}

bool FamilyReader::Has(const std::string& ours) const {
  const std::string name = FileName(ours, 0);
  return !name.empty() && weights_.contains(prefix_ + name);
}

// Whether this file must hold `ours`: its family always does, or may and it or `companion` is there.
bool FamilyReader::Expects(const std::string& ours, const std::string& companion) const {
  if (FileName(ours, 0).empty()) return false;
  return !StartsWithAny(ours, layout_.optional) || Has(ours) || Has(companion);
}

absl::StatusOr<const TensorView*> FamilyReader::Find(const std::string& ours) const {
  const std::string name = prefix_ + FileName(ours, 0);
  const auto found = weights_.find(name);
  if (found == weights_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", name, "\" is missing from this ", layout_.name));
  }
  return found->second;
}

absl::Status FamilyReader::Missing(const std::string& name, const std::vector<int64_t>& shape) const {
  return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" of shape ", ShapeText(shape),
                                                 " is missing from this ", layout_.name));
}

absl::Status FamilyReader::WrongShape(const std::string& ours, const TensorView& view,
                                      const std::string& wanted) const {
  return absl::InvalidArgumentError(absl::StrCat("tensor \"", prefix_, FileName(ours, 0), "\" has shape ",
                                                 ShapeText(view.shape), ", this ", layout_.name, " wants ",
                                                 wanted));
}

// Different block numbers among the names; a gap shows up as a missing tensor.
int64_t FamilyReader::CountBlocks() const {
  const std::string pattern = FileNameOf(layout_, weights_, prefix_, "blocks.#.norm1.weight");
  const std::string stem = prefix_ + pattern.substr(0, pattern.find('#'));
  std::set<std::string> numbers;
  for (auto it = weights_.lower_bound(stem); it != weights_.end() && it->first.starts_with(stem); ++it) {
    const std::string rest = it->first.substr(stem.size());
    numbers.insert(rest.substr(0, rest.find('.')));
  }
  return static_cast<int64_t>(numbers.size());
}

absl::StatusOr<at::Tensor> FamilyReader::ReadParameter(const std::string& name,
                                                       const std::vector<int64_t>& shape,
                                                       at::ScalarType dtype) {
  std::string ours = name;
  int64_t block = 0;
  if (absl::string_view rest = name; absl::ConsumePrefix(&rest, "blocks.")) {
    const size_t dot = rest.find('.');
    if (!absl::SimpleAtoi(rest.substr(0, dot), &block)) return absl::InternalError(name);
    ours = absl::StrCat("blocks.#", rest.substr(dot));
  }
  std::vector<const TensorView*> parts;
  if (!FileName(ours, block).empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(parts.emplace_back(), Take(FileName(ours, block), shape));
  } else {  // three projections, whose rows make up our one
    std::vector<int64_t> third = shape;
    third[0] /= 3;
    for (const char* part : {"attn.q", "attn.k", "attn.v"}) {
      const std::string separate = absl::StrReplaceAll(ours, {{"attn.qkv", part}});
      AFTERIMAGE_ASSIGN_OR_RETURN(parts.emplace_back(), Take(FileName(separate, block), third));
    }
  }
  at::Tensor parameter = at::empty(shape, dtype);
  const std::vector<at::Tensor> targets = parameter.chunk(static_cast<int64_t>(parts.size()), 0);
  for (size_t i = 0; i < parts.size(); ++i) CopyValues(*parts[i], targets[i]);
  return parameter;
}

absl::StatusOr<const TensorView*> FamilyReader::Take(const std::string& file_name,
                                                     const std::vector<int64_t>& shape) {
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
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" has shape ", ShapeText(view.shape),
                                                   ", this ", layout_.name, " wants ", ShapeText(shape)));
  }
  if (!IsFloating(view.type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", name, "\" is of type ", TensorTypeName(view.type), ", not floating point"));
  }
  used_.insert(name);
  return &view;
}

}  // namespace afterimage
