#include "core/vit/position_tables.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/vit/vit.h"

namespace afterimage {
namespace {

// The cubic convolution kernel (Keys 1981) with parameter a.
double Cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

// Row i holds the weights of the `from` old samples in new sample i.
std::vector<double> PlainWeights(int64_t from, int64_t to, double divisor) {
  constexpr double kA = -0.75;
  std::vector<double> weights(static_cast<size_t>(from * to), 0.0);
  for (int64_t i = 0; i < to; ++i) {
    const double position = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / divisor - 0.5;
    const int64_t base = static_cast<int64_t>(std::floor(position));
    for (int64_t tap = base - 1; tap <= base + 2; ++tap) {
      const int64_t source = std::clamp<int64_t>(tap, 0, from - 1);
      weights[static_cast<size_t>(i * from + source)] += Cubic(position - static_cast<double>(tap), kA);
    }
  }
  return weights;
}

std::vector<double> AntialiasWeights(int64_t from, int64_t to) {
  constexpr double kA = -0.5;
  std::vector<double> weights(static_cast<size_t>(from * to), 0.0);
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double width = std::max(scale, 1.0);
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    double sum = 0;
    for (int64_t j = 0; j < from; ++j) {
      const double weight = Cubic((static_cast<double>(j) + 0.5 - center) / width, kA);
      weights[static_cast<size_t>(i * from + j)] = weight;
      sum += weight;
    }
    for (int64_t j = 0; j < from; ++j) weights[static_cast<size_t>(i * from + j)] /= sum;
  }
  return weights;
}

std::vector<double> ResizeWeights(int64_t from, int64_t to, PositionResize resize) {
  switch (resize) {
    case PositionResize::kSizeAntialias:
      return AntialiasWeights(from, to);
    case PositionResize::kScaleOffset:
      return PlainWeights(from, to, static_cast<double>(to) + 0.1);
    case PositionResize::kSize:
      break;
  }
  return PlainWeights(from, to, static_cast<double>(to));
}

}  // namespace

const char* PositionResizeName(PositionResize resize) {
  switch (resize) {
    case PositionResize::kSizeAntialias:
      return "cubic_size_antialias";
    case PositionResize::kScaleOffset:
      return "cubic_scale_offset";
    case PositionResize::kSize:
      break;
  }
  return "cubic_size";
}

at::Tensor ResizePositionTable(const at::Tensor& table, int64_t rows, int64_t columns,
                               PositionResize resize) {
  TORCH_CHECK(table.dim() >= 2 && table.size(-2) > 1, "a position table has rows and channels");
  const int64_t width = table.size(-1);
  const int64_t num_patches = table.size(-2) - 1;
  const int64_t grid = std::lround(std::sqrt(static_cast<double>(num_patches)));
  TORCH_CHECK(grid * grid == num_patches, "a position table of ", num_patches, " patches is not square");
  if (rows == grid && columns == grid) return table;

  const at::Tensor source = table.detach().to(at::kDouble).reshape({1 + num_patches, width}).contiguous();
  at::Tensor result = at::zeros({1 + rows * columns, width}, source.options());
  const double* from = source.const_data_ptr<double>();
  double* to = result.mutable_data_ptr<double>();
  std::copy_n(from, width, to);
  from += width;
  to += width;
  const std::vector<double> row_weights = ResizeWeights(grid, rows, resize);
  const std::vector<double> column_weights = ResizeWeights(grid, columns, resize);

  std::vector<double> narrowed(static_cast<size_t>(grid * columns * width), 0.0);  // grid rows, new columns
  for (int64_t r = 0; r < grid; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      double* target = narrowed.data() + (r * columns + c) * width;
      for (int64_t k = 0; k < grid; ++k) {
        const double weight = column_weights[static_cast<size_t>(c * grid + k)];
        if (weight == 0) continue;
        for (int64_t d = 0; d < width; ++d) target[d] += weight * from[(r * grid + k) * width + d];
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < grid; ++k) {
      const double weight = row_weights[static_cast<size_t>(r * grid + k)];
      if (weight == 0) continue;
      for (int64_t i = 0; i < columns * width; ++i) {
        to[r * columns * width + i] += weight * narrowed[static_cast<size_t>(k * columns * width + i)];
      }
    }
  }
  result = result.to(table.scalar_type());
  return table.dim() == 3 ? result.unsqueeze(0) : result;
}

at::Tensor SinCosPositions(int64_t width, int64_t grid) {
  TORCH_CHECK(width % 4 == 0, "a sin-cos table needs a width that 4 divides, not ", width);
  at::Tensor table = at::zeros({1, 1 + grid * grid, width}, at::kFloat);
  float* row = table.mutable_data_ptr<float>() + width;
  const int64_t quarter = width / 4;
  for (int64_t r = 0; r < grid; ++r) {
    for (int64_t c = 0; c < grid; ++c, row += width) {
      for (int64_t i = 0; i < quarter; ++i) {
        const double frequency = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(quarter));
        const double x = static_cast<double>(c) * frequency;
        const double y = static_cast<double>(r) * frequency;
        row[i] = static_cast<float>(std::sin(x));
        row[quarter + i] = static_cast<float>(std::cos(x));
        row[2 * quarter + i] = static_cast<float>(std::sin(y));
        row[3 * quarter + i] = static_cast<float>(std::cos(y));
      }
    }
  }
  return table;
}

}  // namespace afterimage
