// Prediction of a patch's codes from those to the left and above, for ezq. Private to core/feature.
#pragma once

#include <cstddef>
#include <cstdint>

namespace afterimage {

// `codes`: rows of `width` int8, the class token's and then those of grid x grid patches, row by row.
// `residuals`, as many: of each patch what is left, modulo 256, after the middle of left and up (one of them
// where the other does not exist) is taken away; the class token and the first patch as they are.
void PredictFromNeighbours(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals);
// Undoes it in place.
void AddNeighbours(uint32_t grid, size_t width, uint8_t* codes);

namespace internal {  // for the test that both ways agree
void PredictFromNeighboursPortably(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals);
void AddNeighboursPortably(uint32_t grid, size_t width, uint8_t* codes);
}  // namespace internal

}  // namespace afterimage
