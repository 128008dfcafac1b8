#include "client/rate_picture.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "core/drawing/canvas.h"
#include "core/drawing/scatter.h"

namespace afterimage {

absl::Status WriteRatePicture(const CalibrationReport& report, const std::string& path) {
  std::vector<ScatterSeries> series(2);  // fixed rates, entropy-coded ones; then each float format by itself
  for (const CodecMeter& meter : report.meters) {
    const CodecError total = meter.Total();
    if (!NeedsProfile(meter.codec())) series.emplace_back();
    ScatterSeries& own = !NeedsProfile(meter.codec()) ? series.back() : series[IsEzq(meter.codec()) ? 1 : 0];
    own.push_back({CodecName(meter.codec()), total.BytesPerValue(), total.Rmse()});
  }
  std::ranges::sort(series[1], std::greater(), &ScatterPoint::x);  // steps between others were measured last
  return WritePng(DrawScatter("codecs: rate and error", "bytes per value", "RMSE", series), path);
}

}  // namespace afterimage
