#include "trainer/data/augment/affine.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace afterimage::trainer {
namespace {

constexpr int kTaps = 4;

// The cubic through `v`, at `d` from v[1] on the way to v[2].
double Cubic(const std::array<double, kTaps>& v, double d) {
  const double p1 = v[1];
  const double p2 = -v[0] + v[2];
  const double p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
  const double p4 = -v[0] + v[1] - v[2] + v[3];
  return p1 + d * (p2 + d * (p3 + d * p4));
}

uint8_t ToByte(double value) {
  if (value <= 0) return 0;
  return value >= 255 ? 255 : static_cast<uint8_t>(value);
}

// The pixel at (x, y), which lies inside.
void Sample(const RgbImage& image, double x, double y, uint8_t* target) {
  const auto width = static_cast<int64_t>(image.width), height = static_cast<int64_t>(image.height);
  x -= 0.5;
  y -= 0.5;
  const double left = std::floor(x), top = std::floor(y);
  std::array<size_t, kTaps> columns;
  std::array<const uint8_t*, kTaps> rows;
  for (int tap = 0; tap < kTaps; ++tap) {
    columns[tap] =
        3 * static_cast<size_t>(std::clamp<int64_t>(static_cast<int64_t>(left) - 1 + tap, 0, width - 1));
    rows[tap] = image.Row(
        static_cast<uint32_t>(std::clamp<int64_t>(static_cast<int64_t>(top) - 1 + tap, 0, height - 1)));
  }
  for (int c = 0; c < 3; ++c) {
    std::array<double, kTaps> values;
    for (int row = 0; row < kTaps; ++row) {
      std::array<double, kTaps> line;
      for (int tap = 0; tap < kTaps; ++tap) line[tap] = rows[row][columns[tap] + c];
      values[row] = Cubic(line, x - left);
    }
    target[c] = ToByte(Cubic(values, y - top));
  }
}

// Rounded to 15 decimals. Both numbers of the quotient are exact, so that it is the double nearest to the
// decimal.
double RoundedTo15Decimals(double value) {
  constexpr double kPower = 1e15;
  return std::nearbyint(value * kPower) / kPower;
}

// The series of sine (from `first` = x) or cosine (from 1): each term is the one before times -x^2 / (n (n +
// 1)).
double Series(double first, double square, int n) {
  constexpr int kTerms = 12;  // (pi / 4)^24 / 24! is far below a double's precision
  std::array<double, kTerms> terms;
  for (double& term : terms) {
    term = first;
    first = first * -square / (n * (n + 1));
    n += 2;
  }
  double sum = 0;
  for (int i = kTerms - 1; i >= 0; --i) sum += terms[i];  // the small ones first
  return sum;
}

}  // namespace

RgbImage TransformAffine(const RgbImage& image, const AffineMatrix& matrix, const RgbPixel& fill) {
  RgbImage result;
  result.width = image.width;
  result.height = image.height;
  result.pixels.resize(image.pixels.size());
  for (uint32_t y = 0; y < image.height; ++y) {
    uint8_t* target = result.Row(y);
    for (uint32_t x = 0; x < image.width; ++x, target += 3) {
      const double column = x + 0.5, row = y + 0.5;
      const double from_x = matrix[0] * column + matrix[1] * row + matrix[2];
      const double from_y = matrix[3] * column + matrix[4] * row + matrix[5];
      if (from_x < 0 || from_x >= image.width || from_y < 0 || from_y >= image.height) {
        std::copy(fill.begin(), fill.end(), target);
      } else {
        Sample(image, from_x, from_y, target);
      }
    }
  }
  return result;
}

AffineMatrix RotationMatrix(double degrees, uint32_t width, uint32_t height) {
  constexpr double kRadian = 0x1.1df46a2529d39p-6;  // pi / 180
  const double angle = -(degrees * kRadian);
  const double cosine = RoundedTo15Decimals(Series(1, angle * angle, 1));
  const double sine = RoundedTo15Decimals(Series(angle, angle * angle, 2));
  const double centre_x = width / 2.0, centre_y = height / 2.0;
  AffineMatrix matrix = {cosine, sine, 0, -sine, cosine, 0};
  matrix[2] = cosine * -centre_x + sine * -centre_y + centre_x;
  matrix[5] = -sine * -centre_x + cosine * -centre_y + centre_y;
  return matrix;
}

}  // namespace afterimage::trainer
