// What `supervise`, `finetune` and `probe` have in common: flags as they are given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/identity/canonical_spec.h"
#include "core/view/view_spec.h"
#include "trainer/data/augment/mix.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/optim/precision.h"
#include "trainer/optim/schedule.h"
#include "trainer/run/step_interval.h"

namespace afterimage::trainer {

// Whatever changes the numbers of a run is in LabelledConfig; the rest says where things are and how the run
// is kept.
struct LabelledOptions {
  std::string images;       // a labelled source
  std::string test_images;  // of the same classes; empty = no evaluation
  size_t limit = 0;         // take the first so many training images; 0 = all
  std::string out;          // folder of the run
  std::string recipe;       // its name, for config.json; the values are here

  uint64_t batch_size = 1024;
  uint64_t accumulate = 1;  // parts in which a batch goes through the network
  uint64_t epochs = 100;
  // When positive it replaces `epochs`: the cosine then runs over the time, counted over all resumed parts.
  absl::Duration duration = absl::ZeroDuration();
  double blr = 1e-3;  // for 256 samples: lr = blr * batch / 256
  double lr = 0;      // as it is; 0 = from blr
  double min_lr = 0;
  double warmup_epochs = 5;
  double weight_decay = 0.05;
  double clip_grad = 0;  // largest norm of all gradients together; 0 = no clipping
  double ema = 0;        // decay of a moving average of the weights; 0 = none
  std::string precision = "f32";
  uint64_t seed = 0;

  Ratio min_area{2, 25};  // of the random resized crop
  bool flip = true;
  std::string rand_augment = "none";  // or timm's text
  double random_erasing = 0;          // probability
  MixOptions mix;
  double label_smoothing = 0;

  uint64_t steps = 0;  // end here; the schedule stays that of `epochs`; 0 = at the end
  StepInterval checkpoint_every = {1, /*epochs=*/true};
  int keep = 2;                 // of the last checkpoints
  StepInterval keep_every{};    // which checkpoints are kept for good; zero = none
  uint64_t evaluate_every = 1;  // epochs; the end of a run is evaluated in any case
  std::string device = "cpu";
  int num_threads = 0;  // of LibTorch; 0 = its own choice
  int view_threads = 1;
  std::string export_dtype = "f32";
  bool resume = true;  // go on from a checkpoint in `out`

  double LearningRate() const;  // at the peak
};

// InvalidArgument: a value out of range, or values that do not go together; names the flag.
absl::Status CheckLabelledOptions(const LabelledOptions& options);

// What of them changes the numbers, for checkpoints and config.json.
Json LabelledConfig(const LabelledOptions& options);

// The loader of training views of `size` pixels. `fill`: the pixel mean, for what augmentation brings in.
absl::StatusOr<LabelledViewLoader::Options> TrainingViews(const LabelledOptions& options, uint32_t size,
                                                          const RgbPixel& fill);

// Sets LibTorch's threads and determinism.
void PrepareTorch(int num_threads);

}  // namespace afterimage::trainer
