#include "cache_server/service/server_metrics.h"

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

constexpr std::array<const char*, 4> kWaitNames = {"credit", "store", "socket", "queue"};
constexpr std::array<const char*, 3> kLimitNames = {"max_streams", "max_streams_per_peer",
                                                    "max_calls_per_peer"};

}  // namespace

void ServerMetrics::CallEnded(const char* method, absl::StatusCode code, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  size_t bucket = 0;
  while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
  std::lock_guard lock(mutex_);
  ++calls_[{method, code}];
  Durations& durations = durations_[method];
  ++durations.counts[bucket];
  durations.sum_seconds += seconds;
}

void ServerMetrics::RecordsSent(uint64_t records, uint64_t bytes, uint64_t bad) {
  records_sent_ += records;
  bad_records_ += bad;
  bytes_sent_ += bytes;
}

void ServerMetrics::RecordsReceived(uint64_t records, uint64_t bytes) {
  records_received_ += records;
  bytes_received_ += bytes;
}

void ServerMetrics::Waited(EpochWait what, absl::Duration time) {
  waited_ns_[static_cast<size_t>(what)] += absl::ToInt64Nanoseconds(time);
}

absl::Duration ServerMetrics::TotalWaited(EpochWait what) const {
  return absl::Nanoseconds(waited_ns_[static_cast<size_t>(what)].load());
}

void ServerMetrics::AppendTo(PrometheusText& text) const {
  {
    std::lock_guard lock(mutex_);
    text.Family("afterimage_calls_total", "counter", "Calls that have ended, by method and status.");
    for (const auto& [key, count] : calls_) {
      text.Sample("afterimage_calls_total",
                  {{"method", key.first}, {"code", absl::StatusCodeToString(key.second)}},
                  static_cast<double>(count));
    }
    text.Family("afterimage_call_seconds", "histogram", "How long calls took, streams until their end.");
    for (const auto& [method, durations] : durations_) {
      uint64_t sum = 0;
      for (size_t i = 0; i < durations.counts.size(); ++i) {
        sum += durations.counts[i];
        text.Sample("afterimage_call_seconds_bucket",
                    {{"method", method}, {"le", i < kBounds.size() ? absl::StrCat(kBounds[i]) : "+Inf"}},
                    static_cast<double>(sum));
      }
      text.Sample("afterimage_call_seconds_sum", {{"method", method}}, durations.sum_seconds);
      text.Sample("afterimage_call_seconds_count", {{"method", method}}, static_cast<double>(sum));
    }
  }
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    text.Single(name, "counter", help, static_cast<double>(value));
  };
  counter("afterimage_records_sent_total", "Records written to readers, of any state.", records_sent_);
  counter("afterimage_record_bytes_sent_total", "Bytes of the feature blocks written to readers.",
          bytes_sent_);
  counter("afterimage_record_bytes_shared_total",
          "Of them, bytes that went through memory shared with a reader on this machine.", bytes_shared_);
  counter("afterimage_bad_records_sent_total",
          "Records written to readers that are missing, damaged or failed.", bad_records_);
  counter("afterimage_records_received_total", "Records that workers handed in.", records_received_);
  counter("afterimage_record_bytes_received_total", "Bytes of the feature blocks that workers handed in.",
          bytes_received_);
  text.Family("afterimage_refusals_total", "counter",
              "Calls that were refused because of a limit, by limit.");
  for (size_t i = 0; i < refused_.size(); ++i) {
    text.Sample("afterimage_refusals_total", {{"limit", kLimitNames[i]}}, static_cast<double>(refused_[i]));
  }
  text.Family("afterimage_epoch_wait_seconds_total", "counter",
              "What epoch streams waited for: credit of the client, the store, the socket, their turn.");
  for (size_t i = 0; i < waited_ns_.size(); ++i) {
    text.Sample("afterimage_epoch_wait_seconds_total", {{"for", kWaitNames[i]}},
                static_cast<double>(waited_ns_[i]) / 1e9);
  }
}

}  // namespace afterimage
