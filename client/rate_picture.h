// A picture of what codecs take and lose.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "core/feature/calibration_report.h"

namespace afterimage {

// Bytes per value against RMSE over all levels, a line through the codecs of one kind, as PNG. Errors of WritePng.
absl::Status WriteRatePicture(const CalibrationReport& report, const std::string& path);

}  // namespace afterimage
