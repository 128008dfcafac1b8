#include "core/feature/scale_tables.h"

#include <algorithm>

#include "core/feature/packed_levels.h"

namespace afterimage {
namespace {

constexpr size_t kNumLevels = 256;

void Append(std::span<const float> values, std::vector<float>& target) {
  target.insert(target.end(), values.begin(), values.end());
}

}  // namespace

ScaleTables::ScaleTables(const LevelCodes& codes) : width_(static_cast<uint32_t>(codes.i8x.mean.size())) {
  std::vector<float> floats(kNumLevels, 0.0f);
  for (const int bits : {4, 5, 6}) std::ranges::copy(PackedLevels(bits), floats.begin() + (2 << bits));
  Append(codes.i8x.mean, floats);  // all codecs have the same
  Append(codes.i8x.step, floats);
  for (const int bits : {4, 5, 6}) Append(codes.packed.steps(bits).step, floats);
  Append(codes.ezq.own_steps(), floats);
  const auto append = [this](const auto& values) {
    const auto* const begin = reinterpret_cast<const uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), begin, begin + values.size() * sizeof(values[0]));
  };
  append(floats);
  std::vector<uint32_t> wide(width_, 0);
  for (size_t i = 0; i < codes.packed.wide().size(); ++i)
    wide[codes.packed.wide()[i]] = static_cast<uint32_t>(i + 1);
  append(wide);
}

ScaleView ScaleTables::View(const uint8_t* base) const {
  if (bytes_.empty()) return {};
  ScaleView view;
  view.levels = reinterpret_cast<const float*>(base);
  view.mean = view.levels + kNumLevels;
  view.scale = view.mean + width_;
  view.wide = reinterpret_cast<const uint32_t*>(view.scale + kNumRowScales * width_);
  return view;
}

}  // namespace afterimage
