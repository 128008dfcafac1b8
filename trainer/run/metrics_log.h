// metrics.jsonl of a run: one line per step.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/order/hedge_counts.h"
#include "core/order/stall_rows.h"
#include "trainer/run/append_file.h"

namespace afterimage::trainer {

struct StepMetrics {
  uint64_t step = 0;  // of the run, from 0
  double epoch = 0;
  float loss = 0;
  double lr = 0;
  double images_per_second = 0;
  double wait_share = 0;
  // What each rank waited for before the step, and how long the step took with it; unset: not known.
  std::optional<std::vector<StallRow>> stalls;
  double step_seconds = 0;              // written with `stalls`
  HedgeCounts hedges;                   // of all ranks, since the step before; written where there are any
  uint64_t num_samples = 0;             // with weight one
  uint64_t num_computed = 0;            // of them, what the cache lacks; written where there are any
  std::optional<double> gradient_norm;  // before clipping; where it was taken; not finite with `overflow`
  double loss_scale = 0;                // of half precision, after the step; 0 = none
  bool overflow = false;                // the update was left out for gradients beyond half precision
};

// A number with a name, e.g. {"test_top1", 0.71}.
struct NamedValue {
  std::string name;
  double value = 0;
};

// {"step":0,"epoch":0,"loss":0.98,"loss_hex":"0x1.f5c28ep-1",…,"step_s":0.412,"stall_s":[…]}: the hexadecimal
// form is exact; core/order/stall_rows.h has the ledger's. Not thread-safe.
class MetricsLog {
 public:
  // Keeps the lines of the steps before `next_step`: a resumed run writes the later ones again. Of those it
  // remembers the running digests.
  static absl::StatusOr<std::unique_ptr<MetricsLog>> Open(const std::string& path, uint64_t next_step);

  void Step(const StepMetrics& metrics);
  // {"step":…,"end_of_epoch":…,"running_digest":"…","mean_loss":…}
  void EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest, double mean_loss);
  // What the epoch's line said before the run was resumed; empty where there was none.
  std::string DigestBefore(uint64_t epoch) const;
  // {"step":…,"<name>":…,…}: what is measured now and then. `step` is the last one done.
  void Values(uint64_t step, std::span<const NamedValue> values);
  // ResourceExhausted when the disk is full; the lines are kept for the next call.
  absl::Status Flush() { return file_->Flush(); }

 private:
  MetricsLog(std::unique_ptr<AppendFile> file, std::map<uint64_t, std::string> digests_before)
      : file_(std::move(file)), digests_before_(std::move(digests_before)) {}
  const std::unique_ptr<AppendFile> file_;
  const std::map<uint64_t, std::string> digests_before_;  // by epoch
};

}  // namespace afterimage::trainer
