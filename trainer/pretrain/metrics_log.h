// metrics.jsonl of a run: one line per step.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace afterimage::trainer {

struct StepMetrics {
  uint64_t step = 0;  // of the run, from 0
  double epoch = 0;
  float loss = 0;
  double lr = 0;
  double images_per_second = 0;
  double wait_share = 0;
  uint64_t num_samples = 0;             // with weight one
  std::optional<double> gradient_norm;  // before clipping, where there is clipping
};

// {"step":0,"epoch":0,"loss":0.98,"loss_hex":"0x1.f5c28ep-1",…}: the hexadecimal form is exact. Not
// thread-safe.
class MetricsLog {
 public:
  // Keeps the lines of the steps before `next_step`: a resumed run writes the later ones again.
  static absl::StatusOr<std::unique_ptr<MetricsLog>> Open(const std::string& path, uint64_t next_step);
  ~MetricsLog();

  void Step(const StepMetrics& metrics);
  // {"step":…,"end_of_epoch":…,"running_digest":"…"}
  void EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest);
  // ResourceExhausted when the disk is full.
  absl::Status Flush();

 private:
  MetricsLog(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  const std::string path_;
  std::FILE* const file_;
};

}  // namespace afterimage::trainer
