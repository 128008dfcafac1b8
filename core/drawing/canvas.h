// A picture to draw on, and PNG files.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/image/rgb_image.h"

namespace afterimage {

struct Color {
  uint8_t red = 0, green = 0, blue = 0;
};

// A white RGB picture with its origin at the top left. What falls outside is clipped. Not thread-safe.
class Canvas {
 public:
  Canvas(uint32_t width, uint32_t height, Color background = {255, 255, 255});

  void FillRectangle(int x, int y, int width, int height, Color color);
  // Copies `image` with its top left corner at (x, y), each pixel enlarged to scale x scale.
  void DrawImage(const RgbImage& image, int x, int y, int scale = 1);
  // Printable ASCII in a built-in 5 x 7 font, `scale` times enlarged; returns the width drawn.
  int DrawText(absl::string_view text, int x, int y, Color color, int scale = 1);
  const RgbImage& image() const { return image_; }

 private:
  RgbImage image_;
};

// Blue to yellow through green (the viridis ordering) for value in [0, 1].
Color HeatColor(double value);

// Encodes as PNG. The file is written whole or not at all.
absl::StatusOr<std::string> EncodePng(const RgbImage& image);
absl::Status WritePng(const RgbImage& image, const std::string& path);

}  // namespace afterimage
