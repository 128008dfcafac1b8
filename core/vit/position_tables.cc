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

// What one new sample takes from an old one.
struct Tap {
  int64_t source;
  double weight;
};
using Taps = std::vector<Tap>;

// The weights that are not zero, of each new sample.
std::vector<Taps> ToTaps(const std::vector<double>& weights, int64_t from) {
  std::vector<Taps> taps(weights.size() / static_cast<size_t>(from));
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0) continue;
    taps[i / static_cast<size_t>(from)].push_back({static_cast<int64_t>(i) % from, weights[i]});
  }
  return taps;
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

at::Tensor ResizeGrid(const at::Tensor& grid, int64_t rows, int64_t columns, PositionResize resize) {
  TORCH_CHECK(grid.dim() == 3 && grid.numel() > 0 && rows > 0 && columns > 0,
              "no grid to resize: ", grid.sizes(), " to ", rows, " x ", columns);
  const int64_t old_rows = grid.size(0), old_columns = grid.size(1), width = grid.size(2);
  const at::Tensor source = grid.detach().to(at::kDouble).contiguous();
  at::Tensor result = at::zeros({rows, columns, width}, source.options());
  const double* const from = source.const_data_ptr<double>();
  double* const to = result.mutable_data_ptr<double>();
  const std::vector<Taps> row_taps = ToTaps(ResizeWeights(old_rows, rows, resize), old_rows);
  const std::vector<Taps> column_taps = ToTaps(ResizeWeights(old_columns, columns, resize), old_columns);

  std::vector<double> narrowed(static_cast<size_t>(old_rows * columns * width), 0.0);
  for (int64_t r = 0; r < old_rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      double* const target = narrowed.data() + (r * columns + c) * width;
      for (const Tap& tap : column_taps[static_cast<size_t>(c)]) {
        const double* const sample = from + (r * old_columns + tap.source) * width;
        for (int64_t d = 0; d < width; ++d) target[d] += tap.weight * sample[d];
      }
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    double* const target = to + r * columns * width;
    for (const Tap& tap : row_taps[static_cast<size_t>(r)]) {
      const double* const sample = narrowed.data() + tap.source * columns * width;
      for (int64_t i = 0; i < columns * width; ++i) target[i] += tap.weight * sample[i];
    }
  }
  return result.to(grid.scalar_type());
}

at::Tensor ResizePixels(const at::Tensor& pixels, int64_t rows, int64_t columns) {
  TORCH_CHECK(pixels.dim() == 4, "pixels are [B, 3, H, W], these are ", pixels.sizes());
  std::vector<at::Tensor> resized;
  for (const at::Tensor& view : pixels.unbind(0)) {
    resized.push_back(
        ResizeGrid(view.permute({1, 2, 0}), rows, columns, PositionResize::kSize).permute({2, 0, 1}));
  }
  return at::stack(resized);
}

at::Tensor ResizePositionTable(const at::Tensor& table, int64_t rows, int64_t columns,
                               PositionResize resize) {
  TORCH_CHECK(table.dim() >= 2 && table.size(-2) > 1, "a position table has rows and channels");
  const int64_t width = table.size(-1);
  const int64_t num_patches = table.size(-2) - 1;
  const int64_t grid = std::lround(std::sqrt(static_cast<double>(num_patches)));
  TORCH_CHECK(grid * grid == num_patches, "a position table of ", num_patches, " patches is not square");
  if (rows == grid && columns == grid) return table;

  const at::Tensor flat = table.detach().reshape({1 + num_patches, width});
  const at::Tensor resized = ResizeGrid(flat.slice(0, 1).view({grid, grid, width}), rows, columns, resize);
  const at::Tensor result = at::cat({flat.slice(0, 0, 1), resized.view({rows * columns, width})}, 0);
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
