// How good frozen features are, without training anything on them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  std::vector<uint32_t> ks = {10, 20, 100, 200};
  double temperature = 0.07;  // DINO's
  int num_threads = 0;
  int view_threads = 1;
};

struct KnnEvaluation {
  std::vector<double> accuracies;  // one for each of `ks`
  uint64_t num_train = 0;
  uint64_t num_test = 0;
  uint32_t width = 0;
};

// Weighted k-NN by cosine. A feature is the class token beside the mean patch of the last block, each with
// mean 0 and deviation 1 over its channels. InvalidArgument: images without labels, other classes, a k that
// is 0 or above the number of training images, a temperature that is not above 0. Cancelled: a stop was
// requested.
absl::StatusOr<KnnEvaluation> EvaluateKnn(const KnnEvaluationOptions& options);

}  // namespace afterimage::trainer
