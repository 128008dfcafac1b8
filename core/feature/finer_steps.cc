#include "core/feature/finer_steps.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Of a named codec, such that points lie close to a line.
struct Point {
  double step = 0;
  double figure = 0;
};

// The square of the error is that of the step, and what channels of a wider step of their own add to it; a
// bit a value less doubles the step.
double StepAxis(double step, bool by_error) { return by_error ? step * step : std::log2(step); }
double FromStepAxis(double place, bool by_error) { return by_error ? std::sqrt(place) : std::exp2(place); }

// Where the figure is `wanted`; none where that is not between two of the points.
std::optional<double> PlaceOf(const std::vector<Point>& points, double wanted) {
  for (size_t i = 0; i + 1 < points.size(); ++i) {
    const Point &a = points[i], &b = points[i + 1];
    const auto [low, high] = std::minmax(a.figure, b.figure);
    if (low <= wanted && wanted < high)
      return a.step + (b.step - a.step) * (wanted - a.figure) / (b.figure - a.figure);
  }
  return std::nullopt;
}

}  // namespace

std::vector<CodecMeter> MakeFinerMeters(const CalibrationReport& report, const CodecLimits& limits,
                                        PixelCoding pixel_coding) {
  if (!limits.max_rmse.has_value() && !limits.max_bytes.has_value()) return {};
  const bool by_error = limits.max_rmse.has_value();
  std::vector<Point> points;
  for (const CodecMeter& meter : report.meters) {
    if (!IsEzq(meter.codec())) continue;
    const double error = WorstRmse(meter);
    points.push_back({StepAxis(EzqStep1024(meter.codec()), by_error),
                      by_error ? error * error : report.BytesPerSeed(meter)});
  }
  std::ranges::sort(points, {}, &Point::step);
  const std::optional<double> place =
      PlaceOf(points, by_error ? *limits.max_rmse * *limits.max_rmse : *limits.max_bytes);
  if (!place.has_value()) return {};
  const std::vector<Codec> codecs = EzqCodecs();
  const auto first_above = std::ranges::upper_bound(codecs, FromStepAxis(*place, by_error), {},
                                                    [](Codec codec) { return EzqStep1024(codec); });
  const auto at = first_above - codecs.begin();
  const auto is_new = [&](ptrdiff_t number) {
    return number >= 0 && number < std::ssize(codecs) &&
           std::ranges::find(report.meters, codecs[static_cast<size_t>(number)], &CodecMeter::codec) ==
               report.meters.end();
  };
  std::vector<CodecMeter> meters;
  if (!is_new(at - 1) && !is_new(at)) return meters;  // what is wanted lies between two neighbours
  for (ptrdiff_t i = at - 2; i < at + 2; ++i) {
    if (is_new(i)) meters.emplace_back(codecs[static_cast<size_t>(i)], report.profile.get(), pixel_coding);
  }
  return meters;
}

absl::Status MeasureFinerSteps(CalibrationReport& report, const CodecLimits& limits, PixelCoding pixel_coding,
                               const std::function<absl::Status(std::vector<CodecMeter>& meters)>& measure) {
  while (true) {
    std::vector<CodecMeter> meters = MakeFinerMeters(report, limits, pixel_coding);
    if (meters.empty()) return absl::OkStatus();
    AFTERIMAGE_RETURN_IF_ERROR(measure(meters));
    for (CodecMeter& meter : meters) report.meters.push_back(std::move(meter));
  }
}

}  // namespace afterimage
