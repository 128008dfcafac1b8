// How a row of i4x, i5x or i6x that was decoded finds its codes again, so that encoding it gives the same
// bytes. Private to core/feature.
#pragma once

#include <cstdint>

#include "core/feature/packed_codes.h"

namespace afterimage::trellis {

// Sets the codes that give every value of a row exactly, but for exceptions, of which there are as few as can
// be: one byte a channel, its code or the q of a wide channel. False: there are none, and `codes` is
// unspecified.
bool FindExactPath(const PackedChannels& channels, int bits, const float* row, uint8_t* codes);

// The same for a row whose `codes` are known to give `decoded` (each value a level's or an exception of
// `row`): makes codes those that FindExactPath finds for the row with its exceptions in it. That is quicker:
// it looks around exceptions only.
void SettleExceptions(const PackedChannels& channels, int bits, const float* row, const float* decoded,
                      uint8_t* codes);

}  // namespace afterimage::trellis
