// Rows of int8, those of i8x and unpacked ones of i4x to i6x, straight to two-byte floats. Private to
// core/feature.
#pragma once

#include <cstdint>

#include "core/feature/i8x.h"

namespace afterimage {

// One row without its exceptions: the bits of DecodeI8xRow and then EncodeHalves (EncodeBfloat16s), without a
// row of float32 between. Every value is in range: steps and means are bounded (i8x.h, profile.h). `target`:
// room for a row of two-byte values, at any alignment. Rows may go past the caches: before another thread is
// told of them, FinishHalfRows has to be called, once for any number of them.
void DecodeI8xRowToHalves(const I8xChannels& channels, const int8_t* row, uint8_t* target);
void DecodeI8xRowToBfloat16s(const I8xChannels& channels, const int8_t* row, uint8_t* target);
void FinishHalfRows();

namespace internal {  // for the test that both ways agree
void DecodeI8xRowToHalvesPortably(const I8xChannels& channels, const int8_t* row, uint8_t* target);
void DecodeI8xRowToBfloat16sPortably(const I8xChannels& channels, const int8_t* row, uint8_t* target);
// True where the processor has another way, which the two functions above take.
bool HasWideHalfRows();
}  // namespace internal

}  // namespace afterimage
