#include "trainer/model/student.h"

#include <ATen/ATen.h>

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

absl::StatusOr<Student> Student::Create(const VitConfig& vit, const AlignmentConfig& alignment,
                                        uint64_t seed) {
  AFTERIMAGE_RETURN_IF_ERROR(vit.Validate());
  AFTERIMAGE_RETURN_IF_ERROR(alignment.Validate());
  Student student;
  student.vit_ = vit;
  student.alignment_ = alignment;
  AFTERIMAGE_ASSIGN_OR_RETURN(student.mean_, ParseTriple(student.pixel_norm_.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(student.deviation_, ParseTriple(student.pixel_norm_.deviation));
  student.parameters_ = NewVit(vit, seed);
  student.parameters_.merge(NewAlignment(alignment, seed));
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
  return Align(alignment_, parameters_, VitForward(vit_, parameters_, rows, options).hidden);
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
