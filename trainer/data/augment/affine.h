// The operations of RandAugment that move pixels: Pillow's affine transform with its bicubic filter.
#pragma once

#include <array>
#include <cstdint>

#include "core/image/rgb_image.h"

namespace afterimage::trainer {

using RgbPixel = std::array<uint8_t, 3>;

// Where the pixel at (x, y) of the result comes from: (a x + b y + c, d x + e y + f), {a, b, c, d, e, f}.
using AffineMatrix = std::array<double, 6>;

// The pixels of Pillow 12's image.transform(image.size, AFFINE, matrix, BICUBIC, fillcolor=fill): cubic with
// a = -1 over 4 x 4 neighbours, the edge repeated, no antialias, truncated; `fill` where the source lies
// outside. IEEE double precision without contraction: bit-identical everywhere. Thread-safe.
RgbImage TransformAffine(const RgbImage& image, const AffineMatrix& matrix, const RgbPixel& fill);

// The matrix of Pillow's image.rotate(degrees), counter-clockwise about the centre, for at most 45 degrees.
// Sine and cosine are series of ours, rounded to 15 decimals as Pillow rounds them.
AffineMatrix RotationMatrix(double degrees, uint32_t width, uint32_t height);

}  // namespace afterimage::trainer
