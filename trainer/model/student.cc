#include "trainer/model/student.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/match.h"
#include "core/base/status_macros.h"
#include "trainer/model/vit_init.h"

namespace afterimage::trainer {
namespace {

bool IsTrained(const std::string& name) { return name != "pos_embed" && !absl::StartsWith(name, "norm."); }

}  // namespace

at::Tensor StudentRows(const at::Tensor& pixels, const at::Tensor& mean, const at::Tensor& deviation) {
  const int64_t row = pixels.size(2);
  return NormalizePixels(pixels.view({pixels.size(0), pixels.size(1), row / 3, 3}), mean, deviation)
      .transpose(2, 3)
      .reshape({pixels.size(0), pixels.size(1), row});
}

absl::StatusOr<Student> Student::Create(const VitConfig& vit, std::vector<AlignmentConfig> alignments,
                                        uint64_t seed) {
  AFTERIMAGE_RETURN_IF_ERROR(vit.Validate());
  for (const AlignmentConfig& alignment : alignments) AFTERIMAGE_RETURN_IF_ERROR(alignment.Validate());
  Student student;
  student.vit_ = vit;
  AFTERIMAGE_ASSIGN_OR_RETURN(student.mean_, ParseTriple(student.pixel_norm_.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(student.deviation_, ParseTriple(student.pixel_norm_.deviation));
  student.parameters_ = NewVit(vit, seed);
  for (const AlignmentConfig& alignment : alignments)
    student.parameters_.merge(NewAlignment(alignment, seed));
  student.alignments_ = std::move(alignments);
  for (auto& [name, parameter] : student.parameters_) parameter.set_requires_grad(IsTrained(name));
  return student;
}

std::vector<at::Tensor> Student::Predict(const at::Tensor& pixels, const at::Tensor& visible,
                                         const at::Tensor& drop_path) const {
  at::Tensor rows = StudentRows(pixels, mean_, deviation_);
  if (visible.size(1) == vit_.num_patches()) {
    // Nothing is masked: VitForward takes so many rows to be the whole view in order.
    rows = at::empty_like(rows).scatter_(1, visible.unsqueeze(-1).expand_as(rows), rows);
  }
  VitForwardOptions options;
  options.visible = visible;
  options.drop_path = drop_path;
  const std::vector<at::Tensor> hidden = VitForward(vit_, parameters_, rows, options).hidden;
  std::vector<at::Tensor> predictions;
  for (const AlignmentConfig& alignment : alignments_) {
    for (at::Tensor& prediction : Align(alignment, parameters_, hidden))
      predictions.push_back(std::move(prediction));
  }
  return predictions;
}

void Student::MoveTo(at::Device device) {
  for (auto& [name, parameter] : parameters_)
    parameter = parameter.detach().to(device).set_requires_grad(IsTrained(name));
  mean_ = mean_.to(device);
  deviation_ = deviation_.to(device);
}

VitWeights Student::Export() const {
  VitWeights weights{vit_, pixel_norm_, {}};
  for (const auto& [name, parameter] : parameters_) {
    if (!absl::StartsWith(name, "align.")) weights.parameters[name] = parameter;
  }
  return weights;
}

}  // namespace afterimage::trainer
