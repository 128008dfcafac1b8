// Which steps of ezq between the named ones a calibration should look at, too.
#pragma once

#include <vector>

#include "core/feature/calibration_report.h"

namespace afterimage {

// Meters of a few ezq codecs: of the step that comes nearest to what is asked for without exceeding it, by
// what lies on a line between two steps that the report has measured, and its neighbours. To be given the
// same records and appended to report.meters, again and again until there are none: then two neighbours have
// been measured that what is asked for lies between (after two rounds, as a rule), and ChooseCodec decides.
// None from the start where nothing is asked for, or where it is not between two of the named steps. With
// max_rmse and max_bytes it is the error that is to be met.
std::vector<CodecMeter> MakeFinerMeters(const CalibrationReport& report, const CodecLimits& limits,
                                        PixelCoding pixel_coding = PixelCoding::kRaw);

}  // namespace afterimage
