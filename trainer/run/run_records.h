// What a run writes down about itself while it goes on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/image/rgb_image.h"
#include "trainer/run/event_file.h"
#include "trainer/run/message_box.h"
#include "trainer/run/metrics_log.h"

namespace afterimage::trainer {

// metrics.jsonl, which has every step, and a TensorBoard event file, which has at most 20,000 steps evenly
// spread. A full disk ends nothing: what cannot be written waits in memory. Not thread-safe.
class RunRecords {
 public:
  struct Options {
    std::string folder;
    uint64_t next_step = 0;          // the first that will be written
    uint64_t last_step = 0;          // of the run, exclusive; 0 = not known
    MessageBox* messages = nullptr;  // for what TryFlush has to say
    absl::Duration flush_interval = absl::Seconds(5);
  };
  // `messages` must outlive the records. Errors of MetricsLog::Open and EventFile::Create.
  static absl::StatusOr<std::unique_ptr<RunRecords>> Open(const Options& options);

  // Curves train/loss, train/lr, train/epoch, train/gradient_norm, speed/images_per_second, speed/input_wait;
  // with half precision train/loss_scale.
  void Step(const StepMetrics& metrics);
  // After `step`, the last of an epoch; curve train/epoch_loss. Says where a resumed run comes to another
  // running digest than before.
  void EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest, double mean_loss);
  // What is measured now and then, e.g. {"test/top1", 0.71}: a line, and a point of each curve.
  void Values(uint64_t step, std::span<const NamedValue> values);
  // In the event file only.
  absl::Status Image(uint64_t step, absl::string_view tag, const RgbImage& image);

  // Once per step: TryFlush where the interval is over.
  void FlushNowAndThen();
  // Before a checkpoint, so that a run that goes on from it has all lines before. Says a failure once, and
  // once when it is over; all is kept for the next call.
  void TryFlush();
  // At the end. ResourceExhausted: the disk is full.
  absl::Status Flush();

 private:
  RunRecords(const Options& options, std::unique_ptr<MetricsLog> metrics, std::unique_ptr<EventFile> events);

  const Options options_;
  const std::unique_ptr<MetricsLog> metrics_;
  const std::unique_ptr<EventFile> events_;
  const uint64_t stride_;  // of the steps in the event file
  absl::Time next_flush_;
  bool failing_ = false;
};

}  // namespace afterimage::trainer
