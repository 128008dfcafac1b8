#include "trainer/pretrain/metrics_log.h"

#include <cerrno>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

absl::StatusOr<std::unique_ptr<MetricsLog>> MetricsLog::Open(const std::string& path, uint64_t next_step) {
  std::string kept;
  if (next_step > 0) {
    const absl::StatusOr<std::string> before = ReadFile(path);
    if (!before.ok() && !absl::IsNotFound(before.status())) return before.status();
    if (before.ok()) {
      for (const absl::string_view line : absl::StrSplit(*before, '\n', absl::SkipEmpty())) {
        const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
        if (json.is_object() && json.value("step", next_step) < next_step)
          kept.append(line.data(), line.size()) += '\n';
      }
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(WriteFileAtomically(path, kept));
  std::FILE* file = std::fopen(path.c_str(), "a");
  if (file == nullptr) return ErrnoStatus(errno, "open", path);
  return std::unique_ptr<MetricsLog>(new MetricsLog(path, file));
}

MetricsLog::~MetricsLog() { std::fclose(file_); }

void MetricsLog::Step(const StepMetrics& m) {
  absl::FPrintF(file_,
                "{\"step\":%d,\"epoch\":%.6g,\"loss\":%.9g,\"loss_hex\":\"%a\",\"lr\":%.9g,\"samples\":%d,"
                "\"images_per_s\":%.4g,"
                "\"wait_share\":%.4f",
                m.step, m.epoch, m.loss, m.loss, m.lr, m.num_samples, m.images_per_second, m.wait_share);
  if (m.gradient_norm.has_value()) absl::FPrintF(file_, ",\"grad_norm\":%.9g", *m.gradient_norm);
  absl::FPrintF(file_, "}\n");
}

void MetricsLog::EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest) {
  absl::FPrintF(file_, "{\"step\":%d,\"end_of_epoch\":%d,\"running_digest\":\"%s\"}\n", step, epoch,
                running_digest);
}

absl::Status MetricsLog::Flush() {
  if (std::fflush(file_) != 0 || std::ferror(file_)) return ErrnoStatus(errno, "write", path_);
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
