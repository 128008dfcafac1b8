// The loop of a labelled run: supervised training, fine-tuning, a linear probe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/classify/labelled_input.h"
#include "trainer/classify/labelled_model.h"
#include "trainer/classify/labelled_options.h"
#include "trainer/distributed/communicator.h"
#include "trainer/optim/optimizer.h"

namespace afterimage::trainer {

// What is trained, on what, and how its name is.
struct LabelledTask {
  std::string command;  // "finetune"
  std::unique_ptr<LabelledModel> model;
  std::unique_ptr<Optimizer> optimizer;  // over the model's parameters
  std::unique_ptr<LabelledInput> input;
  Evaluation evaluate;                   // empty = without held-out images
  std::vector<std::string> class_names;  // of the training images
  Json config;                           // all that changes the numbers; a resumed run must have the same
  Json about;                            // further facts for config.json and summary.json
};

struct LabelledSummary {
  uint64_t epochs = 0;
  uint64_t steps = 0;
  double minutes = 0;
  double train_loss = 0;                     // mean over the last epoch, or the part of it that was trained
  std::optional<ClassificationResult> test;  // of the exported file, after rounding
  double best_top1 = 0;                      // over all evaluations, where there are any
  uint64_t best_epoch = 0;
  std::string weights;   // path of model.safetensors
  bool stopped = false;  // a signal ended it: a checkpoint lies in `out`, the weights file too
};

// Runs to the end, or to a stop signal, or to `options.steps`; goes on from the last checkpoint in the
// folder. Leaves there: config.json, metrics.jsonl, TensorBoard's event files, checkpoints (CheckpointKeeper;
// the best is that with the highest top-1 on the held-out images), model.safetensors (as trained, or the
// average where one is kept), best_model.safetensors (the same of the best checkpoint), summary.json.
// FailedPrecondition: a checkpoint of another configuration, other classes or another format version (both
// told, with the remedy). Internal: a loss or gradient that is not finite (the step and its images told).
//
// Several ranks train on the batch that one would: each on the places that are its own, with the task's input
// and evaluation made for them. Rank 0 alone reads and writes the folder; the weights path is empty
// elsewhere. Unavailable: another rank has gone, or ended with an error; rank 0 has saved what was learnt
// before.
absl::StatusOr<LabelledSummary> RunLabelled(const LabelledOptions& options, LabelledTask task,
                                            Communicator& ranks);
// Alone.
absl::StatusOr<LabelledSummary> RunLabelled(const LabelledOptions& options, LabelledTask task);

}  // namespace afterimage::trainer
