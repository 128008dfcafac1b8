#include "core/drawing/scatter.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/drawing/canvas.h"

namespace afterimage {
namespace {

constexpr int kWidth = 960, kHeight = 640;
constexpr int kLeft = 90, kRight = 60, kTop = 50, kBottom = 60;
constexpr Color kInk = {30, 30, 30}, kGrid = {220, 220, 220};
constexpr Color kColors[] = {{31, 119, 180}, {214, 39, 40}, {44, 160, 44}, {148, 103, 189}, {255, 127, 14}};

// Whole exponents around the values.
struct Range {
  int low = std::numeric_limits<int>::max();
  int high = std::numeric_limits<int>::min();

  void Add(double exponent) {
    low = std::min(low, static_cast<int>(std::floor(exponent)));
    high = std::max(high, static_cast<int>(std::ceil(exponent)));
  }
  // At least one step long.
  void Close() {
    if (low > high) low = high = 0;
    if (low == high) ++high;
  }
  double Share(double exponent) const { return (exponent - low) / (high - low); }
};

void DrawLine(Canvas& canvas, int x0, int y0, int x1, int y1, Color color) {
  const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
  for (int i = 0; i <= steps; ++i)
    canvas.FillRectangle(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps, 2, 2, color);
}

class Scatter {
 public:
  explicit Scatter(const std::vector<ScatterSeries>& series) {
    for (const ScatterSeries& one : series) {
      for (const ScatterPoint& point : one) {
        x_.Add(std::log2(point.x));
        if (point.y > 0) {
          y_.Add(std::log10(point.y));
        } else {
          has_zero_ = true;
        }
      }
    }
    x_.Close();
    y_.Close();
    if (has_zero_) --y_.low;
  }

  int X(double x) const {
    return kLeft + static_cast<int>(std::lround(x_.Share(std::log2(x)) * (kWidth - kLeft - kRight)));
  }
  int Y(double y) const {
    const double share = y > 0 ? y_.Share(std::log10(y)) : 0;
    return kHeight - kBottom - static_cast<int>(std::lround(share * (kHeight - kTop - kBottom)));
  }

  void DrawAxes() {
    for (int exponent = x_.low; exponent <= x_.high; ++exponent) {
      const double value = std::exp2(exponent);
      canvas_.FillRectangle(X(value), kTop, 1, kHeight - kTop - kBottom, kGrid);
      canvas_.DrawText(absl::StrCat(value), X(value) - 8, kHeight - kBottom + 8, kInk, 2);
    }
    for (int exponent = y_.low; exponent <= y_.high; ++exponent) {
      const double value = has_zero_ && exponent == y_.low ? 0 : std::pow(10.0, exponent);
      canvas_.FillRectangle(kLeft, Y(value), kWidth - kLeft - kRight, 1, kGrid);
      canvas_.DrawText(absl::StrCat(value), 8, Y(value) - 7, kInk, 2);
    }
    canvas_.FillRectangle(kLeft, kTop, 1, kHeight - kTop - kBottom, kInk);
    canvas_.FillRectangle(kLeft, kHeight - kBottom, kWidth - kLeft - kRight, 1, kInk);
  }

  void DrawSeries(const ScatterSeries& series, Color color) {
    for (size_t i = 0; i < series.size(); ++i) {
      const int x = X(series[i].x), y = Y(series[i].y);
      if (i > 0) DrawLine(canvas_, X(series[i - 1].x), Y(series[i - 1].y), x, y, color);
      canvas_.FillRectangle(x - 3, y - 3, 8, 8, color);
      canvas_.DrawText(series[i].name, x + 6, y - 14, color, 1);
    }
  }

  Canvas& canvas() { return canvas_; }

 private:
  Range x_, y_;
  bool has_zero_ = false;
  Canvas canvas_{kWidth, kHeight};
};

}  // namespace

RgbImage DrawScatter(const std::string& title, const std::string& x_label, const std::string& y_label,
                     const std::vector<ScatterSeries>& series) {
  Scatter scatter(series);
  scatter.DrawAxes();
  for (size_t i = 0; i < series.size(); ++i) scatter.DrawSeries(series[i], kColors[i % std::size(kColors)]);
  scatter.canvas().DrawText(title, kLeft, 10, kInk, 2);
  scatter.canvas().DrawText(y_label, 8, 14, kInk, 2);
  scatter.canvas().DrawText(x_label, kLeft, kHeight - 24, kInk, 2);
  return scatter.canvas().image();
}

}  // namespace afterimage
