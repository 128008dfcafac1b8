// Supervised training of a small ViT: how a teacher is made where no pretrained one can be assumed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/view/view_spec.h"

namespace afterimage::trainer {

struct SupervisedOptions {
  std::string images;       // a labelled source
  std::string test_images;  // empty = no evaluation
  std::string out;          // folder: model.safetensors, and what docs/operations/training.md lists

  int64_t image_size = 28;
  int64_t patch_size = 4;
  int64_t width = 96;
  int64_t depth = 6;
  int64_t heads = 3;
  std::string mean = "0.485,0.456,0.406";
  std::string deviation = "0.229,0.224,0.225";

  Ratio min_area{1, 3};  // of the random resized crop
  bool flip = true;
  uint64_t batch_size = 256;
  double lr = 1e-3;
  double min_lr = 1e-5;
  double weight_decay = 0.05;
  double warmup_epochs = 2;
  double label_smoothing = 0.1;
  double drop_path = 0.1;
  uint64_t epochs = 20;
  // When positive it replaces `epochs`: the cosine then runs over the time, counted over all resumed parts.
  absl::Duration duration = absl::ZeroDuration();

  uint64_t seed = 0;
  int num_threads = 0;  // of LibTorch; 0 = its own choice
  int view_threads = 1;
  std::string export_dtype = "f32";
  bool resume = true;  // go on from a checkpoint in `out`
};

struct SupervisedSummary {
  uint64_t epochs = 0;
  uint64_t steps = 0;
  double minutes = 0;
  double train_loss = 0;      // mean over the last epoch or the part of it that was trained
  double test_accuracy = -1;  // of the exported file, after rounding; -1 without test images
  std::string weights;        // path
  bool stopped = false;       // a signal ended it: a checkpoint lies in `out`, the weights file too
};

// Runs to the end, or to a stop signal. Prints progress to stderr. InvalidArgument: an impossible
// architecture, pictures without labels, classes of the test images that differ from those of the training
// images.
absl::StatusOr<SupervisedSummary> TrainSupervised(const SupervisedOptions& options);

}  // namespace afterimage::trainer
