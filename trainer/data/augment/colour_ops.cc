#include "trainer/data/augment/colour_ops.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace afterimage::trainer {
namespace {

constexpr int kLevels = 256;
constexpr int kColours = 3;
using Table = std::array<uint8_t, kLevels>;
using Histogram = std::array<uint64_t, kLevels>;

std::array<Histogram, kColours> Histograms(const RgbImage& image) {
  std::array<Histogram, kColours> histograms{};
  for (size_t i = 0; i < image.pixels.size(); ++i) ++histograms[i % kColours][image.pixels[i]];
  return histograms;
}

void Apply(RgbImage& image, const std::array<Table, kColours>& tables) {
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = tables[i % kColours][image.pixels[i]];
}

void Apply(RgbImage& image, const Table& table) {
  for (uint8_t& value : image.pixels) value = table[value];
}

template <typename Function>
Table MakeTable(Function value) {
  Table table{};
  for (int i = 0; i < kLevels; ++i) table[i] = static_cast<uint8_t>(std::clamp<int64_t>(value(i), 0, 255));
  return table;
}

// ITU-R 601-2 with 16 fractional bits, as Pillow's convert("L").
uint8_t Grey(const uint8_t* pixel) {
  return static_cast<uint8_t>((pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16);
}

// Image.blend of one value: truncated, clipped where it extrapolates.
uint8_t Blend(uint8_t degenerate, uint8_t value, float factor) {
  const float blended = static_cast<float>(degenerate) + factor * static_cast<float>(value - degenerate);
  return static_cast<uint8_t>(std::clamp(blended, 0.0f, 255.0f));
}

}  // namespace

void AutoContrast(RgbImage& image) {
  const auto histograms = Histograms(image);
  std::array<Table, kColours> tables;
  for (int c = 0; c < kColours; ++c) {
    const auto is_used = [](uint64_t count) { return count > 0; };
    const Histogram& histogram = histograms[c];
    const auto low =
        static_cast<int>(std::find_if(histogram.begin(), histogram.end(), is_used) - histogram.begin());
    const auto high =
        static_cast<int>(histogram.rend() - std::find_if(histogram.rbegin(), histogram.rend(), is_used)) - 1;
    if (high <= low) {
      tables[c] = MakeTable([](int i) { return i; });
      continue;
    }
    const double scale = 255.0 / (high - low);
    const double offset = -low * scale;
    tables[c] = MakeTable([&](int i) { return static_cast<int64_t>(i * scale + offset); });
  }
  Apply(image, tables);
}

void Equalize(RgbImage& image) {
  const auto histograms = Histograms(image);
  std::array<Table, kColours> tables;
  for (int c = 0; c < kColours; ++c) {
    const Histogram& histogram = histograms[c];
    uint64_t total = 0, last = 0;
    for (const uint64_t count : histogram) {
      total += count;
      if (count > 0) last = count;
    }
    const uint64_t step = (total - last) / 255;
    if (step == 0) {
      tables[c] = MakeTable([](int i) { return i; });
      continue;
    }
    uint64_t sum = step / 2;
    tables[c] = MakeTable([&](int i) {
      const auto value = static_cast<int64_t>(sum / step);
      sum += histogram[i];
      return value;
    });
  }
  Apply(image, tables);
}

void Invert(RgbImage& image) {
  Apply(image, MakeTable([](int i) { return 255 - i; }));
}

void Posterize(RgbImage& image, int bits) {
  const int mask = 0xFF & ~((1 << (8 - bits)) - 1);
  Apply(image, MakeTable([&](int i) { return i & mask; }));
}

void Solarize(RgbImage& image, int threshold) {
  Apply(image, MakeTable([&](int i) { return i < threshold ? i : 255 - i; }));
}

void SolarizeAdd(RgbImage& image, int amount) {
  constexpr int kThreshold = 128;
  Apply(image, MakeTable([&](int i) { return i < kThreshold ? std::min(255, i + amount) : i; }));
}

void EnhanceColour(RgbImage& image, float factor) {
  for (size_t i = 0; i < image.pixels.size(); i += kColours) {
    const uint8_t grey = Grey(&image.pixels[i]);
    for (int c = 0; c < kColours; ++c) image.pixels[i + c] = Blend(grey, image.pixels[i + c], factor);
  }
}

void EnhanceContrast(RgbImage& image, float factor) {
  uint64_t sum = 0;
  for (size_t i = 0; i < image.pixels.size(); i += kColours) sum += Grey(&image.pixels[i]);
  const double count = static_cast<double>(image.pixels.size()) / kColours;
  const auto mean = static_cast<uint8_t>(static_cast<double>(sum) / count + 0.5);
  Apply(image, MakeTable([&](int i) { return Blend(mean, static_cast<uint8_t>(i), factor); }));
}

void EnhanceBrightness(RgbImage& image, float factor) {
  Apply(image, MakeTable([&](int i) { return Blend(0, static_cast<uint8_t>(i), factor); }));
}

void EnhanceSharpness(RgbImage& image, float factor) {
  // ImageFilter.SMOOTH: weights 1 but 5 in the centre, over 13; the border stays.
  constexpr int kSum = 13;
  const RgbImage source = image;
  const int64_t stride = int64_t{kColours} * source.width;
  for (uint32_t y = 1; y + 1 < source.height; ++y) {
    for (int64_t x = kColours; x < stride - kColours; ++x) {
      const uint8_t* const centre = source.Row(y) + x;
      int sum = 4 * centre[0];
      for (const int64_t row : {-stride, int64_t{0}, stride})
        sum += centre[row - kColours] + centre[row] + centre[row + kColours];
      const auto smooth = static_cast<uint8_t>((2 * sum + kSum) / (2 * kSum));  // to the nearest
      image.Row(y)[x] = Blend(smooth, centre[0], factor);
    }
  }
}

}  // namespace afterimage::trainer
