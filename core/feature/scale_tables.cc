#include "core/feature/scale_tables.h"

#include <algorithm>

namespace afterimage {
namespace {

constexpr size_t kNumMagnitudes = 64;

void Append(std::span<const float> values, std::vector<float>& target) {
  target.insert(target.end(), values.begin(), values.end());
}

}  // namespace

ScaleTables::ScaleTables(const LevelCodes& codes) : width_(static_cast<uint32_t>(codes.i8x.mean.size())) {
  std::vector<float> floats(kNumMagnitudes, 0.0f);
  for (const int bits : {4, 5, 6})
    std::ranges::copy(PackedMagnitudes(bits), floats.begin() + (1 << (bits - 1)));
  Append(codes.i8x.mean, floats);  // all codecs have the same
  Append(codes.i8x.step, floats);
  std::vector<float> packed = codes.packed.scale;
  std::vector<uint32_t> wide(width_, 0);
  for (size_t i = 0; i < codes.packed.wide.size(); ++i) {
    packed[codes.packed.wide[i]] = codes.packed.wide_step[i];
    wide[codes.packed.wide[i]] = static_cast<uint32_t>(i + 1);
  }
  Append(packed, floats);
  Append(codes.ezq.own_steps(), floats);
  const auto append = [this](const auto& values) {
    const auto* const begin = reinterpret_cast<const uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), begin, begin + values.size() * sizeof(values[0]));
  };
  append(floats);
  append(wide);
}

ScaleView ScaleTables::View(const uint8_t* base) const {
  if (bytes_.empty()) return {};
  ScaleView view;
  view.magnitudes = reinterpret_cast<const float*>(base);
  view.mean = view.magnitudes + kNumMagnitudes;
  view.scale = view.mean + width_;
  view.wide = reinterpret_cast<const uint32_t*>(view.scale + kNumRowScales * width_);
  return view;
}

}  // namespace afterimage
