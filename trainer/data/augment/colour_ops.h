// The operations of RandAugment that change each pixel where it is: those of Pillow 12, byte for byte.
#pragma once

#include <cstdint>

#include "core/image/rgb_image.h"

namespace afterimage::trainer {

// Each works in place, on each colour by itself unless said otherwise. Bit-identical everywhere: integers, or
// IEEE single precision without contraction. Thread-safe.

// ImageOps.autocontrast: darkest to 0, brightest to 255. A colour of one value stays.
void AutoContrast(RgbImage& image);
// ImageOps.equalize: to a flat histogram.
void Equalize(RgbImage& image);
// ImageOps.invert.
void Invert(RgbImage& image);
// ImageOps.posterize: keeps the upper `bits` (0 to 8) of each value.
void Posterize(RgbImage& image, int bits);
// ImageOps.solarize: inverts the values from `threshold` (0 to 256) on.
void Solarize(RgbImage& image, int threshold);
// timm's solarize_add: adds `amount` (>= 0) to the values below 128.
void SolarizeAdd(RgbImage& image, int amount);

// ImageEnhance.*(image).enhance(factor): the image blended with a degenerate one; 1 changes nothing, 0 gives
// the degenerate one. Its grey picture; its mean grey; black; its 3 x 3 mean with a heavy centre.
void EnhanceColour(RgbImage& image, float factor);
void EnhanceContrast(RgbImage& image, float factor);
void EnhanceBrightness(RgbImage& image, float factor);
void EnhanceSharpness(RgbImage& image, float factor);

}  // namespace afterimage::trainer
