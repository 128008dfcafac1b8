#include "core/feature/pixel_residuals.h"

#include <cstring>

namespace afterimage {
namespace {

// The loops are compiled for the widest registers too, as in i8x.cc: same operations, same bytes.
#define AFTERIMAGE_INLINE inline __attribute__((always_inline))

// Sixteen bytes of one row of a patch.
typedef uint8_t Lanes __attribute__((vector_size(16)));

AFTERIMAGE_INLINE Lanes Load(const uint8_t* source) {
  Lanes lanes;
  std::memcpy(&lanes, source, sizeof(lanes));
  return lanes;
}
AFTERIMAGE_INLINE void Store(Lanes lanes, uint8_t* target) { std::memcpy(target, &lanes, sizeof(lanes)); }

// Each lane with all those before it.
AFTERIMAGE_INLINE Lanes RunningSum(Lanes lanes) {
  constexpr Lanes kZero = {};
  lanes +=
      __builtin_shufflevector(kZero, lanes, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
  lanes +=
      __builtin_shufflevector(kZero, lanes, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
  lanes +=
      __builtin_shufflevector(kZero, lanes, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
  lanes +=
      __builtin_shufflevector(kZero, lanes, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
  return lanes;
}

AFTERIMAGE_INLINE uint8_t GreenMask(const PixelLayout& layout) {
  return layout.colours == PixelColours::kLessGreen ? 0xff : 0;
}

AFTERIMAGE_INLINE void SplitColours(const PixelLayout& layout, const uint8_t* __restrict row,
                                    uint8_t* __restrict planes) {
  const size_t area = layout.area();
  const uint8_t mask = GreenMask(layout);
  for (size_t i = 0; i < area; ++i) {
    const uint8_t green = row[3 * i + 1];
    planes[i] = green;
    planes[area + i] = static_cast<uint8_t>(row[3 * i] - (green & mask));
    planes[2 * area + i] = static_cast<uint8_t>(row[3 * i + 2] - (green & mask));
  }
}

AFTERIMAGE_INLINE void JoinColours(const PixelLayout& layout, const uint8_t* __restrict planes,
                                   uint8_t* __restrict row) {
  const size_t area = layout.area();
  const uint8_t mask = GreenMask(layout);
  for (size_t i = 0; i < area; ++i) {
    const uint8_t green = planes[i];
    row[3 * i] = static_cast<uint8_t>(planes[area + i] + (green & mask));
    row[3 * i + 1] = green;
    row[3 * i + 2] = static_cast<uint8_t>(planes[2 * area + i] + (green & mask));
  }
}

// One colour.
AFTERIMAGE_INLINE void Predict(size_t p, PixelPredictor predictor, const uint8_t* __restrict values,
                               uint8_t* __restrict residuals) {
  residuals[0] = values[0];
  for (size_t x = 1; x < p; ++x) residuals[x] = static_cast<uint8_t>(values[x] - values[x - 1]);
  for (size_t y = 1; y < p; ++y) {
    const uint8_t* const row = values + y * p;
    const uint8_t* const above = row - p;
    uint8_t* const target = residuals + y * p;
    target[0] = static_cast<uint8_t>(row[0] - above[0]);
    switch (predictor) {
      case PixelPredictor::kLeft:
        for (size_t x = 1; x < p; ++x) target[x] = static_cast<uint8_t>(row[x] - row[x - 1]);
        break;
      case PixelPredictor::kUp:
        for (size_t x = 1; x < p; ++x) target[x] = static_cast<uint8_t>(row[x] - above[x]);
        break;
      case PixelPredictor::kGradient:
        for (size_t x = 1; x < p; ++x)
          target[x] = static_cast<uint8_t>(row[x] - row[x - 1] - above[x] + above[x - 1]);
        break;
    }
  }
}

// A row of pixels: running sums of its residuals, from `first` on, and with `above` that row added. Writes
// up to 15 bytes beyond it.
AFTERIMAGE_INLINE void UndoRow(size_t p, const uint8_t* __restrict residuals, uint8_t first,
                               const uint8_t* above, uint8_t* target) {
  uint8_t carry = first;
  for (size_t x = 0; x < p; x += sizeof(Lanes)) {
    Lanes lanes = RunningSum(Load(residuals + x)) + carry;
    carry = lanes[sizeof(Lanes) - 1];
    if (above != nullptr) lanes += Load(above + x);
    Store(lanes, target + x);
  }
}

// Of patches no wider than a register: the row above stays in one, for no row to wait until that is stored.
template <PixelPredictor kPredictor>
AFTERIMAGE_INLINE void UndoNarrow(size_t p, const uint8_t* __restrict residuals, uint8_t* __restrict values) {
  Lanes row = RunningSum(Load(residuals));
  Store(row, values);
  for (size_t at = p; at < p * p; at += p) {
    const Lanes source = Load(residuals + at);
    if constexpr (kPredictor == PixelPredictor::kLeft) row = RunningSum(source) + row[0];
    if constexpr (kPredictor == PixelPredictor::kUp) row += source;
    if constexpr (kPredictor == PixelPredictor::kGradient) row += RunningSum(source);
    Store(row, values + at);
  }
}

AFTERIMAGE_INLINE void UndoPrediction(size_t p, PixelPredictor predictor, const uint8_t* __restrict residuals,
                                      uint8_t* __restrict values) {
  if (p <= sizeof(Lanes)) {
    switch (predictor) {
      case PixelPredictor::kLeft:
        return UndoNarrow<PixelPredictor::kLeft>(p, residuals, values);
      case PixelPredictor::kUp:
        return UndoNarrow<PixelPredictor::kUp>(p, residuals, values);
      case PixelPredictor::kGradient:
        return UndoNarrow<PixelPredictor::kGradient>(p, residuals, values);
    }
  }
  UndoRow(p, residuals, 0, nullptr, values);
  // From the top down: what a row's last store spills over is written again by the next one.
  for (size_t y = 1; y < p; ++y) {
    const uint8_t* const source = residuals + y * p;
    uint8_t* const target = values + y * p;
    const uint8_t* const above = target - p;
    switch (predictor) {
      case PixelPredictor::kLeft:
        UndoRow(p, source, above[0], nullptr, target);
        break;
      case PixelPredictor::kUp:
        for (size_t x = 0; x < p; x += sizeof(Lanes)) Store(Load(source + x) + Load(above + x), target + x);
        break;
      case PixelPredictor::kGradient:
        UndoRow(p, source, 0, above, target);
        break;
    }
  }
}

AFTERIMAGE_INLINE void To(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch,
                          uint8_t* residuals) {
  SplitColours(layout, row, scratch);
  for (size_t colour = 0; colour < 3; ++colour) {
    const size_t at = colour * layout.area();
    Predict(layout.patch_size, layout.predictor, scratch + at, residuals + at);
  }
}

AFTERIMAGE_INLINE void From(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch,
                            uint8_t* row) {
  for (size_t colour = 0; colour < 3; ++colour) {
    const size_t at = colour * layout.area();
    UndoPrediction(layout.patch_size, layout.predictor, residuals + at, scratch + at);
  }
  JoinColours(layout, scratch, row);
}

#undef AFTERIMAGE_INLINE

}  // namespace

namespace internal {

void ToResidualsPortably(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch,
                         uint8_t* residuals) {
  To(layout, row, scratch, residuals);
}
void FromResidualsPortably(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch,
                           uint8_t* row) {
  From(layout, residuals, scratch, row);
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) void ToResidualsWidely(const PixelLayout& layout, const uint8_t* row,
                                                       uint8_t* scratch, uint8_t* residuals) {
  To(layout, row, scratch, residuals);
}
__attribute__((target("avx2"))) void FromResidualsWidely(const PixelLayout& layout, const uint8_t* residuals,
                                                         uint8_t* scratch, uint8_t* row) {
  From(layout, residuals, scratch, row);
}
bool HasWidePixels() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}

#else

void ToResidualsWidely(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch, uint8_t* residuals) {
  To(layout, row, scratch, residuals);
}
void FromResidualsWidely(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch,
                         uint8_t* row) {
  From(layout, residuals, scratch, row);
}
bool HasWidePixels() { return false; }

#endif

}  // namespace internal

void ToResiduals(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch, uint8_t* residuals) {
  internal::HasWidePixels() ? internal::ToResidualsWidely(layout, row, scratch, residuals)
                            : internal::ToResidualsPortably(layout, row, scratch, residuals);
}

void FromResiduals(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch, uint8_t* row) {
  internal::HasWidePixels() ? internal::FromResidualsWidely(layout, residuals, scratch, row)
                            : internal::FromResidualsPortably(layout, residuals, scratch, row);
}

}  // namespace afterimage
