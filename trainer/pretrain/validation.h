// The loss of a pre-trained student on features that it may never have seen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/batch_feed.h"
#include "trainer/data/feature_input.h"

namespace afterimage::trainer {

struct ValidationOptions {
  std::string checkpoint;  // of `pretrain`: a file, or a run's folder, which stands for its last one
  bool average = false;    // the moving average of the weights instead of the weights
  // A cache, or a live teacher. Levels, loss and normalisation of targets are those of the run.
  FeatureInputOptions input;
  // Whose views and masks: with a cache its view seed is this modulo K. Unset = 0, and with `input.fresh` an
  // epoch whose views no run gets to see.
  std::optional<uint64_t> epoch;
  uint64_t batch_size = 128;  // fewer pictures than that at the end of the epoch are left out
  uint64_t steps = 0;         // ends early, after so many batches; 0 = the whole epoch
  std::string device = "cpu";
  int num_threads = 0;
  MissPolicy miss = MissPolicy::kFail;
  uint64_t credit_bytes = 32 << 20;
};

struct Validation {
  double loss = 0;            // mean over the samples, without drop path
  uint64_t num_samples = 0;   // that had features
  uint64_t num_left_out = 0;  // undecodable pictures and absent records
  uint64_t epoch = 0;
  uint64_t step = 0;     // of the checkpoint
  std::string features;  // FeatureInput::summary
};

// One epoch without gradients. Prints progress to stderr. NotFound: no checkpoint there. InvalidArgument: one
// of another kind, or features that the student was not made for (another side, grid, width or level; both
// told). Cancelled: by a signal. Further errors: those of FeatureInput::Open and BatchFeed::Next.
absl::StatusOr<Validation> Validate(const ValidationOptions& options);

}  // namespace afterimage::trainer
