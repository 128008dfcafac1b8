// What is left of a patch's pixels after prediction: small numbers, for the entropy coder of packed_pixels.h.
// Private to core/feature.
#pragma once

#include <cstddef>
#include <cstdint>

namespace afterimage {

// Of a pixel from its neighbours to the left, above, and above to the left, in the same patch. Pixels of the
// first row have that to the left only, those of the first column that above, the first one none.
enum class PixelPredictor : uint8_t { kLeft = 0, kUp = 1, kGradient = 2 };  // gradient: left + up - the third
enum class PixelColours : uint8_t { kAsTheyAre = 0, kLessGreen = 1 };  // red - green, green, blue - green

struct PixelLayout {
  size_t patch_size = 0;
  PixelPredictor predictor = PixelPredictor::kLeft;
  PixelColours colours = PixelColours::kAsTheyAre;

  size_t area() const { return patch_size * patch_size; }
};

// Loads and stores may go so far beyond the last residual (never beyond a row of pixels).
inline constexpr size_t kPixelSlack = 16;

// `row`: a patch's 3 p p bytes, RGB. `residuals`: those of green, then of red, then of blue, p p each; all
// arithmetic modulo 256. `scratch`, as `residuals`: room for 3 p p + kPixelSlack bytes.
void ToResiduals(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch, uint8_t* residuals);
// Undoes it.
void FromResiduals(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch, uint8_t* row);

namespace internal {  // for the test that both ways agree
void ToResidualsPortably(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch, uint8_t* residuals);
void FromResidualsPortably(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch,
                           uint8_t* row);
// True where the processor has another way.
bool HasWidePixels();
void ToResidualsWidely(const PixelLayout& layout, const uint8_t* row, uint8_t* scratch, uint8_t* residuals);
void FromResidualsWidely(const PixelLayout& layout, const uint8_t* residuals, uint8_t* scratch, uint8_t* row);
}  // namespace internal

}  // namespace afterimage
