#include "core/feature/calibration_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/byte_size.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

std::string Row(const std::string& codec, const std::string& level, const CodecError& error) {
  std::string row = absl::StrFormat("%-16s %-5s %11.4f %9.5f %9.4f %13.6f %8.2f %8.2f", codec, level,
                                    error.BytesPerValue(), error.Rmse(), error.largest, error.worst_cosine,
                                    error.EncodeRate() / 1e9, error.DecodeRate() / 1e9);
  if (error.num_fallback_planes > 0) {
    absl::StrAppendFormat(&row, "   %d of %d planes as f16", error.num_fallback_planes, error.num_planes);
  }
  return row + "\n";
}

Json ToJson(const CodecError& error) {
  return {{"bytes_per_value", error.BytesPerValue()},
          {"rmse", error.Rmse()},
          {"largest_error", error.largest},
          {"worst_token_cosine", error.worst_cosine},
          {"encode_bytes_per_second", error.EncodeRate()},
          {"decode_bytes_per_second", error.DecodeRate()},
          {"planes", error.num_planes},
          {"fallback_planes", error.num_fallback_planes}};
}

}  // namespace

absl::StatusOr<CodecLimits> ParseCodecLimits(std::optional<double> max_rmse, absl::string_view max_bytes) {
  CodecLimits limits{.max_rmse = max_rmse, .max_bytes = std::nullopt};
  if (max_rmse.has_value() && !(std::isfinite(*max_rmse) && *max_rmse >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-rmse is ", *max_rmse, "; an error such as 0.02 is wanted"));
  }
  if (max_bytes.empty()) return limits;
  const absl::StatusOr<uint64_t> bytes = ParseByteSize(max_bytes);
  if (!bytes.ok()) return WithContext(bytes.status(), "--max-bytes");
  limits.max_bytes = static_cast<double>(*bytes);
  return limits;
}

double CalibrationReport::BytesPerSeed(const CodecMeter& meter) const {
  return meter.BytesPerRecord() * static_cast<double>(num_images);
}

double WorstRmse(const CodecMeter& meter) {
  double worst = 0;
  for (const auto& [level, error] : meter.levels()) worst = std::max(worst, error.Rmse());
  return worst;
}

std::vector<CodecMeter> MakeMeters(const FeatureProfile& profile, PixelCoding pixel_coding) {
  std::vector<CodecMeter> meters;
  for (const Codec codec : kAllCodecs) {
    meters.emplace_back(codec, NeedsProfile(codec) ? &profile : nullptr, pixel_coding);
  }
  return meters;
}

absl::StatusOr<Codec> ChooseCodec(const CalibrationReport& report, const CodecLimits& limits) {
  const CodecMeter* best = nullptr;
  const CodecMeter* most_exact = nullptr;
  const CodecMeter* smallest = nullptr;
  const auto less = [](double a, double b, double c, double d) { return a < b || (a == b && c < d); };
  const auto is_smaller = [&](const CodecMeter& a, const CodecMeter& b) {
    return less(a.BytesPerRecord(), b.BytesPerRecord(), WorstRmse(a), WorstRmse(b));
  };
  const auto is_more_exact = [&](const CodecMeter& a, const CodecMeter& b) {
    return less(WorstRmse(a), WorstRmse(b), a.BytesPerRecord(), b.BytesPerRecord());
  };
  for (const CodecMeter& meter : report.meters) {
    if (smallest == nullptr || is_smaller(meter, *smallest)) smallest = &meter;
    if (most_exact == nullptr || is_more_exact(meter, *most_exact)) most_exact = &meter;
    if (limits.max_rmse.has_value() && WorstRmse(meter) > *limits.max_rmse) continue;
    if (limits.max_bytes.has_value() && report.BytesPerSeed(meter) > *limits.max_bytes) continue;
    const bool is_better = best == nullptr || (limits.max_rmse.has_value() ? is_smaller(meter, *best)
                                                                           : is_more_exact(meter, *best));
    if (is_better) best = &meter;
  }
  if (best != nullptr) return best->codec();
  std::string asked;
  if (limits.max_rmse.has_value()) absl::StrAppend(&asked, " an RMSE of at most ", *limits.max_rmse);
  if (limits.max_bytes.has_value()) {
    absl::StrAppend(&asked, asked.empty() ? "" : " and", " at most ",
                    HumanBytes(static_cast<uint64_t>(*limits.max_bytes)), " per view seed");
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "no codec keeps to%s: the most exact is %s (RMSE %.3g, %s per view seed), the smallest %s (RMSE %.3g, "
      "%s)",
      asked, CodecName(most_exact->codec()), WorstRmse(*most_exact),
      HumanBytes(static_cast<uint64_t>(report.BytesPerSeed(*most_exact))), CodecName(smallest->codec()),
      WorstRmse(*smallest), HumanBytes(static_cast<uint64_t>(report.BytesPerSeed(*smallest)))));
}

absl::StatusOr<FeatureProfile> ProfileWithFigures(const CalibrationReport& report) {
  ProfileFigures figures;
  for (const CodecMeter& meter : report.meters) {
    figures.num_records = meter.num_records();
    for (const auto& [level, error] : meter.levels()) {
      figures.rows.push_back({.codec = meter.codec(),
                              .level = level,
                              .bytes_per_value = error.BytesPerValue(),
                              .rmse = error.Rmse(),
                              .largest_error = error.largest,
                              .worst_cosine = error.worst_cosine});
    }
  }
  std::ranges::sort(figures.rows, {},
                    [](const CodecFigures& row) { return std::pair(row.codec, row.level); });
  return report.profile->WithFigures(std::move(figures));
}

std::string ToText(const CalibrationReport& report, std::optional<Codec> chosen, ReportRows rows) {
  const ProfileContent& content = report.profile->content();
  std::string text = absl::StrFormat("profile  %s\n  feature  %s\n  from     %d records, %d tokens of %s\n",
                                     report.profile->digest().Hex(), content.feature_id.Hex(),
                                     content.num_records, content.num_rows, report.source);
  absl::StrAppendFormat(&text,
                        "  measured on %d records, of which %d were calibrated on too; errors are those "
                        "against %s, rates those of one core in\n"
                        "  GB/s of what would be f16\n",
                        report.meters.front().num_records(), report.num_also_calibrated, report.exact);
  if (content.num_records < kEnoughCalibrationRecords) {
    absl::StrAppendFormat(&text,
                          "  NOTE     %d records are few: from %d on what is predicted can be relied upon\n",
                          content.num_records, kEnoughCalibrationRecords);
  }
  absl::StrAppendFormat(&text, "%-16s %-5s %11s %9s %9s %13s %8s %8s\n", "codec", "level", "bytes/value",
                        "RMSE", "largest", "worst cosine", "encode", "decode");
  for (const CodecMeter& meter : report.meters) {
    const std::string name = CodecName(meter.codec());
    if (rows == ReportRows::kLevels) {
      for (const auto& [level, error] : meter.levels()) text += Row(name, absl::StrCat(level), error);
    }
    text += Row(name, "all", meter.Total());
  }
  for (const CodecMeter& meter : report.meters) {
    absl::StrAppendFormat(&text, "%-16s %s a record, %s for %d images per view seed%s\n",
                          CodecName(meter.codec()), HumanBytes(static_cast<uint64_t>(meter.BytesPerRecord())),
                          HumanBytes(static_cast<uint64_t>(report.BytesPerSeed(meter))), report.num_images,
                          chosen == meter.codec() ? "   <- taken" : "");
  }
  return text;
}

Json ToJson(const CalibrationReport& report, std::optional<Codec> chosen) {
  Json codecs = Json::array();
  for (const CodecMeter& meter : report.meters) {
    Json levels = Json::object();
    for (const auto& [level, error] : meter.levels()) levels[absl::StrCat(level)] = ToJson(error);
    codecs.push_back({{"codec", CodecName(meter.codec())},
                      {"bytes_per_record", meter.BytesPerRecord()},
                      {"bytes_per_view_seed", report.BytesPerSeed(meter)},
                      {"all", ToJson(meter.Total())},
                      {"levels", levels}});
  }
  return {{"event", "calibration"},
          {"profile", report.profile->digest().Hex()},
          {"feature_id", report.profile->feature_id().Hex()},
          {"source", report.source},
          {"records", report.profile->content().num_records},
          {"rows", report.profile->content().num_rows},
          {"measured_records", report.meters.front().num_records()},
          {"measured_and_calibrated_records", report.num_also_calibrated},
          {"images", report.num_images},
          {"codecs", codecs},
          {"taken", chosen.has_value() ? Json(CodecName(*chosen)) : Json()}};
}

}  // namespace afterimage
