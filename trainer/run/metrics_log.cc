#include "trainer/run/metrics_log.h"

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

absl::StatusOr<std::unique_ptr<MetricsLog>> MetricsLog::Open(const std::string& path, uint64_t next_step) {
  std::string kept;
  std::map<uint64_t, std::string> digests;
  if (next_step > 0) {
    const absl::StatusOr<std::string> before = ReadFile(path);
    if (!before.ok() && !absl::IsNotFound(before.status())) return before.status();
    if (before.ok()) {
      for (const absl::string_view line : absl::StrSplit(*before, '\n', absl::SkipEmpty())) {
        const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
        // What is no line of ours goes with those that are written again.
        if (!json.is_object() || !json.contains("step") || !json["step"].is_number_unsigned()) continue;
        if (json["step"].get<uint64_t>() < next_step) {
          kept.append(line.data(), line.size()) += '\n';
        } else if (json.contains("end_of_epoch") && json["end_of_epoch"].is_number_unsigned() &&
                   json.contains("running_digest") && json["running_digest"].is_string()) {
          digests[json["end_of_epoch"].get<uint64_t>()] = json["running_digest"].get<std::string>();
        }
      }
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(auto file, AppendFile::Create(path, kept));
  return std::unique_ptr<MetricsLog>(new MetricsLog(std::move(file), std::move(digests)));
}

std::string MetricsLog::DigestBefore(uint64_t epoch) const {
  const auto known = digests_before_.find(epoch);
  return known != digests_before_.end() ? known->second : "";
}

void MetricsLog::Step(const StepMetrics& m) {
  std::string& text = file_->waiting();
  absl::StrAppendFormat(&text,
                        "{\"step\":%d,\"epoch\":%.6g,\"loss\":%.9g,\"loss_hex\":\"%a\",\"lr\":%.9g,"
                        "\"samples\":%d,\"images_per_s\":%.4g,\"wait_share\":%.4f",
                        m.step, m.epoch, m.loss, m.loss, m.lr, m.num_samples, m.images_per_second,
                        m.wait_share);
  if (m.num_computed > 0) absl::StrAppendFormat(&text, ",\"computed\":%d", m.num_computed);
  if (m.hedges.asked > 0 || m.hedges.won > 0)
    absl::StrAppendFormat(&text, ",\"hedges\":{\"asked\":%d,\"won\":%d}", m.hedges.asked, m.hedges.won);
  if (m.stalls.has_value()) {
    absl::StrAppendFormat(&text, ",\"step_s\":%.6f,\"stall_s\":%s", m.step_seconds, ToJson(*m.stalls).dump());
  }
  if (m.gradient_norm.has_value() && !m.overflow)
    absl::StrAppendFormat(&text, ",\"grad_norm\":%.9g", *m.gradient_norm);
  if (m.loss_scale > 0) absl::StrAppendFormat(&text, ",\"loss_scale\":%.9g", m.loss_scale);
  if (m.overflow) text += ",\"overflow\":true";
  text += "}\n";
}

void MetricsLog::EndOfEpoch(uint64_t step, uint64_t epoch, const std::string& running_digest,
                            double mean_loss) {
  absl::StrAppendFormat(&file_->waiting(),
                        "{\"step\":%d,\"end_of_epoch\":%d,\"running_digest\":\"%s\",\"mean_loss\":%.9g}\n",
                        step, epoch, running_digest, mean_loss);
}

void MetricsLog::Values(uint64_t step, std::span<const NamedValue> values) {
  Json line = {{"step", step}};
  for (const NamedValue& value : values) line[value.name] = value.value;
  file_->Append(line.dump() + "\n");
}

}  // namespace afterimage::trainer
