// Named points on two logarithmic axes.
#pragma once

#include <string>
#include <vector>

#include "core/image/rgb_image.h"

namespace afterimage {

struct ScatterPoint {
  std::string name;
  double x = 0;
  double y = 0;
};

// Points that belong together are joined by a line, in their order.
using ScatterSeries = std::vector<ScatterPoint>;

// 960 x 640 pixels. Axes go over whole powers of two (x) and of ten (y). `x` must be positive; a y of 0 lies
// on the lower edge, which is then called 0. Texts are printable ASCII.
RgbImage DrawScatter(const std::string& title, const std::string& x_label, const std::string& y_label,
                     const std::vector<ScatterSeries>& series);

}  // namespace afterimage
