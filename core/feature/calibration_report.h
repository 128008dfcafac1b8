// What calibration found: a profile, what each codec would cost and lose with it, and which one to take.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/feature/codec_error.h"
#include "core/feature/profile.h"
#include "core/identity/canonical_spec.h"

namespace afterimage {

// Fewer records were visibly too few in a study: single values lay far outside what had been seen.
inline constexpr uint64_t kEnoughCalibrationRecords = 1000;

// What a user asks of a codec. Neither: nothing is asked.
struct CodecLimits {
  std::optional<double> max_rmse;   // of the values of each level
  std::optional<double> max_bytes;  // of the data set, per view seed
};

// Of --max-rmse and --max-bytes, an empty text for no size. InvalidArgument: an error that is not finite or
// below 0, a text that is no size.
absl::StatusOr<CodecLimits> ParseCodecLimits(std::optional<double> max_rmse, absl::string_view max_bytes);

struct CalibrationReport {
  std::shared_ptr<const FeatureProfile> profile;
  std::vector<CodecMeter> meters;    // one per codec
  uint64_t num_images = 0;           // of the data set
  uint64_t num_also_calibrated = 0;  // of the measured records
  std::string source;                // what was looked at, for people: "set 1234abcd…", "folder /data"
  std::string exact;  // codec of what errors are measured against: "f32" of a teacher's own numbers

  // Of the data set, as its records keep tokens and pixels.
  double BytesPerSeed(const CodecMeter& meter) const;
};

// Measures every codec, with the report's profile, in blocks that hold pixels so.
std::vector<CodecMeter> MakeMeters(const FeatureProfile& profile,
                                   PixelCoding pixel_coding = PixelCoding::kRaw);

// Of its levels.
double WorstRmse(const CodecMeter& meter);

// With max_rmse the codec of the least bytes whose levels all keep to it, with max_bytes that of the least
// error which fits, with both the least bytes that keep to both. InvalidArgument: none does; the text tells
// what comes nearest.
absl::StatusOr<Codec> ChooseCodec(const CalibrationReport& report, const CodecLimits& limits);

// The report's profile with what was measured beside it: what to keep (FeatureCatalog::PutProfile). Of the
// same digest. InvalidArgument: a figure that is no finite number.
absl::StatusOr<FeatureProfile> ProfileWithFigures(const CalibrationReport& report);

enum class ReportRows { kLevels, kTotals };  // with a row for each level, or one per codec only
// A table: a row per codec and level, and the bytes of a view seed; `chosen` is marked.
std::string ToText(const CalibrationReport& report, std::optional<Codec> chosen,
                   ReportRows rows = ReportRows::kLevels);
// One JSON object.
Json ToJson(const CalibrationReport& report, std::optional<Codec> chosen);

}  // namespace afterimage
