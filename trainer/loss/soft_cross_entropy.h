// The loss of classifiers.
#pragma once

#include <ATen/core/Tensor.h>

namespace afterimage::trainer {

// -sum_c targets[i, c] log softmax(logits)[i, c], summed over the given samples and divided by `num_samples`,
// so that the parts of a batch of `num_samples` add up to its mean. In single precision at least.
at::Tensor SoftCrossEntropy(const at::Tensor& logits, const at::Tensor& targets, int64_t num_samples);

}  // namespace afterimage::trainer
