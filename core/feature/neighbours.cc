#include "core/feature/neighbours.h"

#include <algorithm>

#include "core/feature/i8x.h"

namespace afterimage {
namespace {

// Calls `use(row, left, up)` for each patch; left and up are rows, or the patch's own where there is none.
template <typename Use>
void ForEachPatch(uint32_t grid, Use use) {
  for (size_t y = 0; y < grid; ++y) {
    for (size_t x = 0; x < grid; ++x) {
      const size_t row = 1 + y * grid + x;
      const size_t left = x > 0 ? row - 1 : row;
      const size_t up = y > 0 ? row - grid : row;
      use(row, left == row ? up : left, up == row ? left : up);
    }
  }
}

// The middle of both as int8, rounded down; of the same one twice itself. Written so that it is one average
// of unsigned bytes, which processors have, and which is rounded up.
inline uint8_t Middle(uint8_t left, uint8_t up) {
  const uint8_t a = left ^ 0x80, b = up ^ 0x80;
  const uint8_t rounded_up = static_cast<uint8_t>((a + b + 1) >> 1);
  return static_cast<uint8_t>(rounded_up - ((a ^ b) & 1)) ^ 0x80;
}

// Of a row, modulo 256, so that it can be undone; there twice, for any processor and for AVX2.
inline __attribute__((always_inline)) void SubtractMiddles(size_t width, const uint8_t* left,
                                                           const uint8_t* up, const uint8_t* source,
                                                           uint8_t* target) {
  for (size_t c = 0; c < width; ++c) target[c] = static_cast<uint8_t>(source[c] - Middle(left[c], up[c]));
}
inline __attribute__((always_inline)) void AddMiddles(size_t width, const uint8_t* left, const uint8_t* up,
                                                      uint8_t* target) {
  for (size_t c = 0; c < width; ++c) target[c] = static_cast<uint8_t>(target[c] + Middle(left[c], up[c]));
}

void SubtractMiddlesPortably(size_t width, const uint8_t* left, const uint8_t* up, const uint8_t* source,
                             uint8_t* target) {
  SubtractMiddles(width, left, up, source, target);
}
void AddMiddlesPortably(size_t width, const uint8_t* left, const uint8_t* up, uint8_t* target) {
  AddMiddles(width, left, up, target);
}
#if defined(__x86_64__)
__attribute__((target("avx2"))) void SubtractMiddlesWidely(size_t width, const uint8_t* left,
                                                           const uint8_t* up, const uint8_t* source,
                                                           uint8_t* target) {
  SubtractMiddles(width, left, up, source, target);
}
__attribute__((target("avx2"))) void AddMiddlesWidely(size_t width, const uint8_t* left, const uint8_t* up,
                                                      uint8_t* target) {
  AddMiddles(width, left, up, target);
}
#else
constexpr auto SubtractMiddlesWidely = SubtractMiddlesPortably;
constexpr auto AddMiddlesWidely = AddMiddlesPortably;
#endif

template <typename Subtract>
void Predict(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals, Subtract subtract) {
  std::copy_n(codes, width, residuals);
  ForEachPatch(grid, [&](size_t row, size_t left, size_t up) {
    const uint8_t* const source = codes + row * width;
    uint8_t* const target = residuals + row * width;
    if (left == row) {
      std::copy_n(source, width, target);
    } else {
      subtract(width, codes + left * width, codes + up * width, source, target);
    }
  });
}

template <typename Add>
void Undo(uint32_t grid, size_t width, uint8_t* codes, Add add) {
  ForEachPatch(grid, [&](size_t row, size_t left, size_t up) {
    if (left != row) add(width, codes + left * width, codes + up * width, codes + row * width);
  });
}

}  // namespace

namespace internal {

void PredictFromNeighboursPortably(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals) {
  Predict(grid, width, codes, residuals, SubtractMiddlesPortably);
}
void AddNeighboursPortably(uint32_t grid, size_t width, uint8_t* codes) {
  Undo(grid, width, codes, AddMiddlesPortably);
}

}  // namespace internal

void PredictFromNeighbours(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals) {
  Predict(grid, width, codes, residuals,
          internal::HasWideI8x() ? SubtractMiddlesWidely : SubtractMiddlesPortably);
}

void AddNeighbours(uint32_t grid, size_t width, uint8_t* codes) {
  Undo(grid, width, codes, internal::HasWideI8x() ? AddMiddlesWidely : AddMiddlesPortably);
}

}  // namespace afterimage
