#include "core/drawing/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/drawing/font.h"

namespace afterimage {
namespace {

// Nine evenly spaced colours of viridis (van der Walt and Smith, 2015).
constexpr std::array<std::array<uint8_t, 3>, 9> kViridis = {{{68, 1, 84},
                                                            {71, 44, 122},
                                                            {59, 81, 139},
                                                            {44, 113, 142},
                                                            {33, 144, 141},
                                                            {39, 173, 129},
                                                            {92, 200, 99},
                                                            {170, 220, 50},
                                                            {253, 231, 37}}};

}  // namespace

Canvas::Canvas(uint32_t width, uint32_t height, Color background) {
  image_.width = width;
  image_.height = height;
  image_.pixels.resize(size_t{3} * width * height);
  FillRectangle(0, 0, static_cast<int>(width), static_cast<int>(height), background);
}

void Canvas::FillRectangle(int x, int y, int width, int height, Color color) {
  const int64_t left = std::max(x, 0);
  const int64_t top = std::max(y, 0);
  const int64_t right = std::min<int64_t>(int64_t{x} + width, image_.width);
  const int64_t bottom = std::min<int64_t>(int64_t{y} + height, image_.height);
  for (int64_t row = top; row < bottom; ++row) {
    uint8_t* pixel = image_.Row(static_cast<uint32_t>(row)) + 3 * left;
    for (int64_t column = left; column < right; ++column) {
      *pixel++ = color.red;
      *pixel++ = color.green;
      *pixel++ = color.blue;
    }
  }
}

void Canvas::DrawImage(const RgbImage& image, int x, int y, int scale) {
  for (uint32_t row = 0; row < image.height; ++row) {
    const uint8_t* pixel = image.Row(row);
    for (uint32_t column = 0; column < image.width; ++column, pixel += 3) {
      FillRectangle(x + static_cast<int>(column) * scale, y + static_cast<int>(row) * scale, scale, scale,
                    {pixel[0], pixel[1], pixel[2]});
    }
  }
}

int Canvas::DrawText(absl::string_view text, int x, int y, Color color, int scale) {
  int pen = x;
  for (const char character : text) {
    for (int row = 0; row < kGlyphHeight; ++row) {
      for (int column = 0; column < kGlyphWidth; ++column) {
        if (GlyphPixel(character, column, row)) {
          FillRectangle(pen + column * scale, y + row * scale, scale, scale, color);
        }
      }
    }
    pen += (kGlyphWidth + 1) * scale;
  }
  return pen - x;
}

Color HeatColor(double value) {
  if (!(value > 0)) value = 0;  // NaN too
  const double place = std::min(value, 1.0) * (kViridis.size() - 1);
  const size_t below = std::min(static_cast<size_t>(place), kViridis.size() - 2);
  const double fraction = place - static_cast<double>(below);
  const auto mix = [&](int channel) {
    const double from = kViridis[below][channel];
    const double to = kViridis[below + 1][channel];
    return static_cast<uint8_t>(std::lround(from + (to - from) * fraction));
  };
  return {mix(0), mix(1), mix(2)};
}

}  // namespace afterimage
