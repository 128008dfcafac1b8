// How good frozen features are, without training anything on them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace afterimage::trainer {

struct KnnEvaluationOptions {
  std::string weights;       // an exported student, or any teacher that TeacherRunner knows
  bool untrained = false;    // the network of the file as it was before training
  bool raw_pixels = false;   // the pixels themselves; `weights` only tells the size
  uint32_t image_size = 28;  // with raw_pixels and no weights
  std::string images;        // labelled
  std::string test_images;   // labelled, of the same classes
  size_t limit = 0;          // of the training images; 0 = all
  uint32_t k = 20;
  int num_threads = 0;
};

struct KnnEvaluation {
  double accuracy = 0;
  uint64_t num_train = 0;
  uint64_t num_test = 0;
  uint32_t width = 0;
};

// Weighted k-NN by cosine. A feature is the class token beside the mean patch of the last block, each with
// mean 0 and deviation 1 over its channels. InvalidArgument: images without labels, other classes.
absl::StatusOr<KnnEvaluation> EvaluateKnn(const KnnEvaluationOptions& options);

}  // namespace afterimage::trainer
