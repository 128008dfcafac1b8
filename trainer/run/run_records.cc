#include "trainer/run/run_records.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

constexpr uint64_t kMostPoints = 20'000;  // of a curve: more than any screen shows

}  // namespace

absl::StatusOr<std::unique_ptr<RunRecords>> RunRecords::Open(const Options& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(auto metrics,
                              MetricsLog::Open(options.folder + "/metrics.jsonl", options.next_step));
  AFTERIMAGE_ASSIGN_OR_RETURN(auto events, EventFile::Create(options.folder, options.next_step));
  return std::unique_ptr<RunRecords>(new RunRecords(options, std::move(metrics), std::move(events)));
}

RunRecords::RunRecords(const Options& options, std::unique_ptr<MetricsLog> metrics,
                       std::unique_ptr<EventFile> events)
    : options_(options),
      metrics_(std::move(metrics)),
      events_(std::move(events)),
      stride_(std::max<uint64_t>(1, options.last_step / kMostPoints)),
      next_flush_(absl::Now() + options.flush_interval) {}

void RunRecords::Step(const StepMetrics& m) {
  metrics_->Step(m);
  if (m.step % stride_ != 0) return;
  std::vector<NamedValue> values = {{"train/loss", m.loss},
                                    {"train/lr", m.lr},
                                    {"train/epoch", m.epoch},
                                    {"speed/images_per_second", m.images_per_second},
                                    {"speed/input_wait", m.wait_share}};
  if (m.gradient_norm.has_value() && !m.overflow) values.push_back({"train/gradient_norm", *m.gradient_norm});
  if (m.loss_scale > 0) values.push_back({"train/loss_scale", m.loss_scale});
  events_->Scalars(m.step, values);
}

void RunRecords::EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest,
                            double mean_loss) {
  const std::string before = metrics_->DigestBefore(epoch);
  if (!before.empty() && before != running_digest && options_.messages != nullptr) {
    options_.messages->Put(absl::StrCat("warning: epoch ", epoch, " has the running digest ", running_digest,
                                        ", and had ", before,
                                        " before the run was resumed: it has read other records, such as "
                                        "ones that were missing, damaged or computed again in between"));
  }
  metrics_->EndOfEpoch(step, epoch, running_digest, mean_loss);
  events_->Scalars(step, std::vector<NamedValue>{{"train/epoch_loss", mean_loss}});
}

void RunRecords::Values(uint64_t step, std::span<const NamedValue> values) {
  metrics_->Values(step, values);
  events_->Scalars(step, values);
}

absl::Status RunRecords::Image(uint64_t step, absl::string_view tag, const RgbImage& image) {
  return events_->Image(step, tag, image);
}

void RunRecords::FlushNowAndThen() {
  const absl::Time now = absl::Now();
  if (now < next_flush_) return;
  next_flush_ = now + options_.flush_interval;
  TryFlush();
}

void RunRecords::TryFlush() {
  const absl::Status flushed = Flush();
  if (flushed.ok() == !failing_) return;
  failing_ = !flushed.ok();
  if (options_.messages == nullptr) return;
  options_.messages->Put(
      failing_ ? absl::StrCat("warning: ", flushed.message(), "; the run goes on and tries again")
               : std::string("what the run says of itself is being written again"));
}

absl::Status RunRecords::Flush() {
  const absl::Status metrics = metrics_->Flush();
  const absl::Status events = events_->Flush();
  return metrics.ok() ? events : metrics;
}

}  // namespace afterimage::trainer
