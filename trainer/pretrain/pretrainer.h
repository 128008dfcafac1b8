// Masked pre-training against teacher features: MaskAlign (docs/method.md).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/feature_input.h"
#include "trainer/distributed/communicator.h"
#include "trainer/run/step_interval.h"

namespace afterimage::trainer {

// The defaults are the published recipe (maskalign.md section 1.8), not the defaults of the reference's
// script.
struct PretrainOptions {
  FeatureInputOptions input;
  std::string out;     // the run's folder
  std::string recipe;  // the one that the options came from, for the record only

  std::string model = "vit_base";  // or the three sizes below
  int64_t width = 0;               // 0 = the model's
  int64_t depth = 0;
  int64_t heads = 0;
  std::string fusion = "linear";
  std::string head = "linear";
  std::string target_norm = "whiten";
  std::string loss_type = "smoothl1";
  std::string loss_weights = "top5";  // for all teachers, or one each: "top5,top3"
  std::string teacher_weights;        // of the teachers' losses, likewise; empty = their mean

  uint64_t batch_size = 1024;  // of an update
  uint64_t accumulate = 1;     // parts in which a batch goes through the student, to save memory
  uint64_t epochs = 200;
  uint64_t steps = 0;   // ends the run early, at this step; the schedule stays that of `epochs`
  double blr = 1.5e-4;  // lr = blr * batch / 256
  double lr = 0;        // absolute; 0 = from blr
  double min_lr = 1e-5;
  double warmup_epochs = -1;  // below 0 = a tenth of the epochs: 20 of 200
  double weight_decay = 0.05;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double drop_path = 0.1;
  double clip_grad = 0;  // largest norm of all gradients together; 0 = no clipping, as in the reference
  double ema = 0;        // decay of the moving average of the weights; 0 = none is kept
  std::string precision = "f32";  // of matrix products: f32, bf16, f16
  uint64_t seed = 0;

  std::string device = "cpu";
  int num_threads =
      0;  // of LibTorch; 0 = its own choice. Losses are equal bit for bit only between equal counts.
  MissPolicy miss = MissPolicy::kFail;
  uint64_t credit_bytes = 32 << 20;
  int64_t bucket_bytes = 0;  // of gradients that ranks sum at once; 0 = from their size (gradient_buckets.h)
  StepInterval checkpoint_every{1, /*epochs=*/true};
  StepInterval keep_every;                       // which checkpoints are kept for good; 0 = none
  int keep = 2;                                  // the last so many checkpoints stay
  StepInterval image_every{1, /*epochs=*/true};  // pictures in the event file; 0 = none
  bool resume = true;                            // go on from a checkpoint in `out`
  std::string trace;  // file for a trace of the first steps (step_trace.h); empty = none
  uint64_t trace_steps = 50;
};

struct PretrainSummary {
  uint64_t steps = 0;  // done, earlier runs included
  double last_loss = 0;
  double images_per_second = 0;  // of this run, the first step left out
  double wait_share = 0;         // of the time spent in steps, the first left out: waiting for input
  uint64_t num_failed = 0;       // samples of this run that had no features
  uint64_t num_skipped = 0;
  uint64_t num_computed = 0;         // samples of this run that the cache lacks
  HedgeCounts hedges;                // of this run
  uint64_t num_skipped_updates = 0;  // of the whole run: gradients that overflowed in half precision
  std::string checkpoint;            // path of the last one
  bool stopped = false;              // by a signal; the same command goes on
};

// Trains to the end, or until a stop is asked for (SIGINT, SIGTERM): then the checkpoint of the last finished
// step is written. Writes into <out> what docs/operations/training.md lists; prints progress to stderr.
// ResourceExhausted: the disk is full, the last state could not be saved. FailedPrecondition: a checkpoint of
// another configuration (the key and both values told), feature id, set or order. Internal: a loss that is
// not finite (not_finite.h says what is left behind).
//
// The ranks of `communicator` make the run together, all calling this with the same options: each takes its
// part of every batch, rank 0 alone reads and writes <out>. Then also FailedPrecondition: ranks with
// different options; Unavailable: a rank has gone (rank 0 has saved the finished steps).
absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options, Communicator& communicator);
absl::StatusOr<PretrainSummary> Pretrain(const PretrainOptions& options);  // one rank

}  // namespace afterimage::trainer
