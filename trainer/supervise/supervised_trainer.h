// Supervised training of a small ViT: how a teacher is made where no pretrained one can be assumed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/classify/labelled_run.h"

namespace afterimage::trainer {

struct SupervisedOptions {
  LabelledOptions run = Defaults();

  int64_t image_size = 28;
  int64_t patch_size = 4;
  int64_t width = 96;
  int64_t depth = 6;
  int64_t heads = 3;
  std::string mean = "0.485,0.456,0.406";
  std::string deviation = "0.229,0.224,0.225";
  double drop_path = 0.1;

  static LabelledOptions Defaults();
};

// InvalidArgument: an impossible architecture, pictures without labels, classes of the test images that
// differ from those of the training images; and the errors of RunLabelled. This rank leaves the others when
// it returns.
absl::StatusOr<LabelledSummary> TrainSupervised(const SupervisedOptions& options, Communicator& ranks);
// Alone.
absl::StatusOr<LabelledSummary> TrainSupervised(const SupervisedOptions& options);

}  // namespace afterimage::trainer
