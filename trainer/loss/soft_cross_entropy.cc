#include "trainer/loss/soft_cross_entropy.h"

#include <ATen/ATen.h>

namespace afterimage::trainer {

at::Tensor SoftCrossEntropy(const at::Tensor& logits, const at::Tensor& targets, int64_t num_samples) {
  const at::ScalarType type = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return -(targets * at::log_softmax(logits.to(type), -1)).sum() / static_cast<double>(num_samples);
}

}  // namespace afterimage::trainer
