// Flags that `supervise`, `finetune`, `probe` and `evaluate` share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "trainer/classify/labelled_run.h"
#include "trainer/classify/start_network.h"
#include "trainer/cli/command.h"
#include "trainer/cli/rank_flags.h"

namespace afterimage::trainer {

// Which of the flags that say what is trained a command has.
struct LabelledFlagChoice {
  bool augmentation = false;  // RandAugment, erasing, mixing
  bool smoothing = true;      // of labels
  bool parts = false;         // accumulate, clipping, average, precision
  bool duration = false;      // --minutes
};

// The options must live as long as the command; their values are the defaults.
void AddLabelledRecipeFlags(CLI::App& command, const LabelledFlagChoice& choice, LabelledOptions& options);
void AddLabelledRunFlags(CLI::App& command, LabelledOptions& options);
void AddStartNetworkFlags(CLI::App& command, StartNetworkOptions& options);

// What follows from the flags, as a comment of a printed configuration.
std::string DerivedValues(const LabelledOptions& options);

// Prints what came out, as the last line; the exit status.
int ReportLabelled(const absl::StatusOr<LabelledSummary>& summary);

// Joins the other ranks, sets the device of this one, runs, and reports as rank 0.
int RunLabelledRanks(const RankArguments& arguments, LabelledOptions& options,
                     const std::function<absl::StatusOr<LabelledSummary>(Communicator& ranks)>& run);

}  // namespace afterimage::trainer
