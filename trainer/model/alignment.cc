#include "trainer/model/alignment.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "absl/strings/str_cat.h"
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
  if (fusion != Fusion::kSum && student_depth != num_teacher_levels) {
    return absl::InvalidArgumentError(
        absl::StrCat("fusion ", fusion == Fusion::kLinear ? "linear" : "simple",
                     " pairs student block j with teacher level j, but the student has ", student_depth,
                     " blocks and the teacher ", num_teacher_levels, " levels: use --fusion sum, or --depth ",
                     num_teacher_levels));
  }
  return absl::OkStatus();
}

ParameterMap NewAlignment(const AlignmentConfig& config, uint64_t seed) {
  c10::NoGradGuard no_grad;
  ParameterMap parameters;
  const auto rows = static_cast<int64_t>(config.levels.size());
  if (config.fusion == Fusion::kSum) {
    parameters["align.mix"] =
        at::full({rows, config.student_depth}, 1.0 / static_cast<double>(config.student_depth), at::kFloat);
  } else if (config.fusion == Fusion::kLinear) {
    at::Tensor mix = at::full({rows, config.student_depth}, 0.01, at::kFloat);
    for (int64_t row = 0; row < rows; ++row) mix.select(0, row).select(0, config.levels[row] - 1).add_(1.0);
    parameters["align.mix"] = mix;
  }

  const auto add_linear = [&](const std::string& name, int64_t out, int64_t in) {
    at::Tensor weight = at::empty({out, in}, at::kFloat);
    XavierUniform(weight, InitialGenerator(seed, name + ".weight"));
    parameters[name + ".weight"] = weight;
    parameters[name + ".bias"] = at::zeros({out}, at::kFloat);
  };
  const auto add_norm = [&](const std::string& name) {
    parameters[name + ".weight"] = at::ones({config.student_width}, at::kFloat);
    parameters[name + ".bias"] = at::zeros({config.student_width}, at::kFloat);
  };
  for (const uint32_t level : config.levels) {
    const std::string name = absl::StrCat("align.heads.", level);
    if (config.head == Head::kNormLinear || config.head == Head::kMlp2) add_norm(name + ".norm");
    if (config.head == Head::kMlp || config.head == Head::kMlp2) {
      add_linear(name + ".fc1", config.student_width, config.student_width);
      add_linear(name + ".fc2", config.teacher_width, config.student_width);
    } else {
      add_linear(name, config.teacher_width, config.student_width);
    }
  }
  return parameters;
}

std::vector<at::Tensor> Align(const AlignmentConfig& config, const ParameterMap& parameters,
                              const std::vector<at::Tensor>& hidden) {
  at::Tensor mixed;
  if (config.fusion != Fusion::kSimple) mixed = Mix(parameters.at("align.mix"), hidden);
  std::vector<at::Tensor> aligned;
  for (size_t i = 0; i < config.levels.size(); ++i) {
    const uint32_t level = config.levels[i];
    const at::Tensor g = mixed.defined() ? mixed.select(0, static_cast<int64_t>(i)) : hidden[level];
    aligned.push_back(ApplyHead(config.head, parameters, absl::StrCat("align.heads.", level), g));
  }
  return aligned;
}

}  // namespace afterimage::trainer
