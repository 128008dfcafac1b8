#include "trainer/model/alignment.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {
namespace {

constexpr double kHeadNormEps = 1e-6;

at::Tensor Linear(const ParameterMap& parameters, const std::string& name, const at::Tensor& x) {
  return at::linear(x, parameters.at(name + ".weight"), parameters.at(name + ".bias"));
}

at::Tensor Norm(const ParameterMap& parameters, const std::string& name, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, parameters.at(name + ".weight"), parameters.at(name + ".bias"),
                        kHeadNormEps);
}

at::Tensor ApplyHead(Head head, const ParameterMap& parameters, const std::string& name,
                     const at::Tensor& x) {
  switch (head) {
    case Head::kLinear:
      return Linear(parameters, name, x);
    case Head::kNormLinear:
      return Linear(parameters, name, Norm(parameters, name + ".norm", x));
    case Head::kMlp:
      return Linear(parameters, name + ".fc2", at::gelu(Linear(parameters, name + ".fc1", x)));
    case Head::kMlp2:
      return Linear(parameters, name + ".fc2",
                    Norm(parameters, name + ".norm", Linear(parameters, name + ".fc1", x)));
  }
  return {};
}

// [L, B, T, D] from a mix [L, S] and S tensors [B, T, D]: one matrix product.
at::Tensor Mix(const at::Tensor& mix, const std::vector<at::Tensor>& hidden) {
  const at::Tensor stacked = at::stack(at::TensorList(hidden).slice(1));
  std::vector<int64_t> shape = hidden[1].sizes().vec();
  shape.insert(shape.begin(), mix.size(0));
  return at::matmul(mix, stacked.flatten(1)).view(shape);
}

}  // namespace

absl::StatusOr<Fusion> ParseFusion(absl::string_view name) {
  if (name == "linear") return Fusion::kLinear;
  if (name == "sum") return Fusion::kSum;
  if (name == "simple") return Fusion::kSimple;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown fusion \"", name, "\": linear, sum and simple are known"));
}

absl::StatusOr<Head> ParseHead(absl::string_view name) {
  if (name == "linear") return Head::kLinear;
  if (name == "norm_linear") return Head::kNormLinear;
  if (name == "mlp") return Head::kMlp;
  if (name == "mlp2") return Head::kMlp2;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown head \"", name, "\": linear, norm_linear, mlp and mlp2 are known"));
}

absl::Status AlignmentConfig::Validate() const {
  if (levels.empty()) return absl::InvalidArgumentError("no teacher level has a weight in the loss");
  uint32_t previous = 0;
  for (const uint32_t level : levels) {
    if (level < 1 || level > num_teacher_levels) {
      return absl::InvalidArgumentError(
          absl::StrCat("level ", level, " does not exist: the teacher has levels 1 to ", num_teacher_levels));
    }
    if (level <= previous) return absl::InvalidArgumentError("levels are not ascending");
    previous = level;
  }
  if (fusion != Fusion::kSum && student_depth != num_teacher_levels) {
    return absl::InvalidArgumentError(
        absl::StrCat("fusion ", fusion == Fusion::kLinear ? "linear" : "simple",
                     " pairs student block j with teacher level j, but the student has ", student_depth,
                     " blocks and the teacher ", num_teacher_levels, " levels: use --fusion sum, or --depth ",
                     num_teacher_levels));
  }
  return absl::OkStatus();
}

std::string AlignmentPrefix(size_t teacher) {
  return teacher == 0 ? "align" : absl::StrCat("align.", teacher + 1);
}

bool IsMix(absl::string_view name) {
  return absl::StartsWith(name, "align.") && absl::EndsWith(name, ".mix");
}

bool IsOfFurtherTeacher(absl::string_view name) {
  return absl::ConsumePrefix(&name, "align.") && !name.empty() && absl::ascii_isdigit(name.front());
}

std::map<std::string, std::vector<int64_t>> AlignmentShapes(const AlignmentConfig& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  if (config.fusion != Fusion::kSimple) {
    shapes[config.prefix + ".mix"] = {static_cast<int64_t>(config.levels.size()), config.student_depth};
  }
  const auto add = [&](const std::string& name, std::vector<int64_t> weight) {
    shapes[name + ".bias"] = {weight[0]};
    shapes[name + ".weight"] = std::move(weight);
  };
  const int64_t width = config.student_width;
  for (const uint32_t level : config.levels) {
    const std::string name = absl::StrCat(config.prefix, ".heads.", level);
    if (config.head == Head::kNormLinear || config.head == Head::kMlp2) add(name + ".norm", {width});
    if (config.head == Head::kMlp || config.head == Head::kMlp2) {
      add(name + ".fc1", {width, width});
      add(name + ".fc2", {config.teacher_width, width});
    } else {
      add(name, {config.teacher_width, width});
    }
  }
  return shapes;
}

ParameterMap NewAlignment(const AlignmentConfig& config, uint64_t seed) {
  c10::NoGradGuard no_grad;
  ParameterMap parameters;
  for (const auto& [name, shape] : AlignmentShapes(config)) {
    at::Tensor tensor = at::zeros(shape, at::kFloat);
    if (IsMix(name)) {
      const bool sum = config.fusion == Fusion::kSum;
      tensor.fill_(sum ? 1.0 / static_cast<double>(config.student_depth) : 0.01);
      for (int64_t row = 0; !sum && row < shape[0]; ++row) {
        tensor.select(0, row).select(0, config.levels[static_cast<size_t>(row)] - 1).add_(1.0);
      }
    } else if (shape.size() > 1) {
      XavierUniform(tensor, InitialGenerator(seed, name));
    } else if (absl::EndsWith(name, ".weight")) {
      tensor.fill_(1.0);  // a LayerNorm
    }
    parameters[name] = tensor;
  }
  return parameters;
}

std::vector<at::Tensor> MixLevels(const AlignmentConfig& config, const ParameterMap& parameters,
                                  const std::vector<at::Tensor>& hidden) {
  std::vector<at::Tensor> levels;
  if (config.fusion == Fusion::kSimple) {
    for (const uint32_t level : config.levels) levels.push_back(hidden[level]);
    return levels;
  }
  const at::Tensor mixed = Mix(parameters.at(config.prefix + ".mix"), hidden);
  for (int64_t i = 0; i < mixed.size(0); ++i) levels.push_back(mixed.select(0, i));
  return levels;
}

std::vector<at::Tensor> ApplyHeads(const AlignmentConfig& config, const ParameterMap& parameters,
                                   const std::vector<at::Tensor>& mixed) {
  std::vector<at::Tensor> aligned;
  for (size_t i = 0; i < config.levels.size(); ++i) {
    const std::string name = absl::StrCat(config.prefix, ".heads.", config.levels[i]);
    aligned.push_back(ApplyHead(config.head, parameters, name, mixed[i]));
  }
  return aligned;
}

std::vector<at::Tensor> Align(const AlignmentConfig& config, const ParameterMap& parameters,
                              const std::vector<at::Tensor>& hidden) {
  return ApplyHeads(config, parameters, MixLevels(config, parameters, hidden));
}

}  // namespace afterimage::trainer
