#include "cache_server/service/status_pages.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cache_server/service/prometheus_text.h"
#include "core/base/process_usage.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

void AppendProcess(PrometheusText& text, absl::Time start) {
  const ProcessUsage usage = OwnUsage();
  text.Single("process_cpu_seconds_total", "counter", "User and system CPU time.", usage.cpu_seconds);
  text.Single("process_resident_memory_bytes", "gauge", "Resident memory.",
              static_cast<double>(usage.resident_bytes));
  text.Single("process_resident_memory_peak_bytes", "gauge", "The most that ever was resident.",
              static_cast<double>(usage.peak_resident_bytes));
  text.Single("process_threads", "gauge", "Threads.", usage.num_threads);
  text.Single("process_open_fds", "gauge", "Open files and sockets.", usage.num_descriptors);
  text.Single("process_start_time_seconds", "gauge", "When the server started, since the epoch.",
              absl::ToDoubleSeconds(start - absl::UnixEpoch()));
}

void AppendSets(PrometheusText& text, const std::vector<SetWatch::Seen>& sets) {
  const auto family = [&](const char* name, const char* help, auto value) {
    text.Family(name, "gauge", help);
    for (const SetWatch::Seen& set : sets) {
      text.Sample(name, {{"set", set.id}, {"name", absl::StrJoin(set.names, ",")}},
                  static_cast<double>(value(set)));
    }
  };
  family("afterimage_set_serving", "1: the set can be read; 0: it is damaged or of another version.",
         [](const SetWatch::Seen& set) { return set.status.ok() ? 1 : 0; });
  family("afterimage_set_records", "Records that are OK.",
         [](const SetWatch::Seen& set) { return set.num_records; });
  family("afterimage_set_failed_records", "Records of pictures that cannot be decoded.",
         [](const SetWatch::Seen& set) { return set.num_failed; });
  family("afterimage_set_stored_bytes", "Bytes on disk.",
         [](const SetWatch::Seen& set) { return set.stored_bytes; });
}

}  // namespace

StatusPages::StatusPages(const ServerMetrics* metrics, const SetWatch* sets, const StreamGate* gate,
                         const ServiceLimits& limits, DiskWatch disk)
    : metrics_(metrics),
      sets_(sets),
      gate_(gate),
      limits_(limits),
      disk_(std::move(disk)),
      start_(absl::Now()) {}

absl::Status StatusPages::CheckReady() const {
  AFTERIMAGE_RETURN_IF_ERROR(gate_->CheckServing());
  if (disk_.free_bytes) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const uint64_t free_bytes, disk_.free_bytes());
    if (free_bytes < disk_.min_free_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("the disk is full: ", HumanBytes(free_bytes),
                                                       " free, --min-free is ",
                                                       HumanBytes(disk_.min_free_bytes)));
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(sets_->status());
  for (const SetWatch::Seen& set : sets_->sets()) {
    if (absl::IsDataLoss(set.status))
      return absl::DataLossError(absl::StrCat("set ", set.id, " is damaged: ", set.status.message()));
  }
  return absl::OkStatus();
}

HttpEndpoint::Pages StatusPages::Pages() const {
  return {{"/metrics", [this] { return Metrics(); }},
          {"/healthz", [] { return HttpPage{.body = "ok\n"}; }},
          {"/readyz", [this] { return Ready(); }}};
}

HttpPage StatusPages::Metrics() const {
  PrometheusText text;
  text.Family("afterimage_build_info", "gauge", "1, with the release.");
  text.Sample("afterimage_build_info", {{"version", kServerVersion}}, 1);
  text.Single("afterimage_ready", "gauge",
              "1: /readyz says so; 0: draining, disk full, a damaged set, or no access to the store.",
              CheckReady().ok() ? 1 : 0);
  text.Single("afterimage_streams", "gauge", "Bulk streams under way.", gate_->num_streams());
  text.Single("afterimage_streams_limit", "gauge", "Bulk streams that may be under way.",
              limits_.max_streams);
  if (disk_.free_bytes) {
    const absl::StatusOr<uint64_t> free_bytes = disk_.free_bytes();
    if (free_bytes.ok()) {
      text.Single("afterimage_disk_free_bytes", "gauge", "Free on the disk of the cache.",
                  static_cast<double>(*free_bytes));
    }
  }
  metrics_->AppendTo(text);
  AppendSets(text, sets_->sets());
  AppendProcess(text, start_);
  return {.content_type = kMetricsType, .body = text.text()};
}

HttpPage StatusPages::Ready() const {
  const absl::Status ready = CheckReady();
  HttpPage page{.status = ready.ok() ? 200 : 503,
                .body = ready.ok() ? "ready\n" : absl::StrCat("not ready: ", ready.message(), "\n")};
  for (const SetWatch::Seen& set : sets_->sets()) {
    if (!set.status.ok() && !absl::IsDataLoss(set.status))
      absl::StrAppend(&page.body, "set ", set.id, " is not served: ", set.status.message(), "\n");
  }
  return page;
}

}  // namespace afterimage
