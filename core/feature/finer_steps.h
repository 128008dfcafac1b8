// Which steps of ezq between the named ones a calibration should look at, too.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "core/feature/calibration_report.h"

namespace afterimage {

// Meters of a few ezq codecs: of the step that comes nearest to what is asked for without exceeding it, by
// what lies on a line between two steps that the report has measured, and its neighbours. None when two
// neighbours have been measured that what is asked for lies between; and from the start where nothing is asked for, or where it is not between two of the named steps. With
// max_rmse and max_bytes it is the error that is to be met.
std::vector<CodecMeter> MakeFinerMeters(const CalibrationReport& report, const CodecLimits& limits,
                                        PixelCoding pixel_coding = PixelCoding::kRaw);

// Has those measured and appends them to report.meters, until there are none (after two rounds, as a rule):
// then ChooseCodec decides. `measure` adds the records that the report's meters have seen; its errors.
absl::Status MeasureFinerSteps(CalibrationReport& report, const CodecLimits& limits, PixelCoding pixel_coding,
                               const std::function<absl::Status(std::vector<CodecMeter>& meters)>& measure);

}  // namespace afterimage
