// How rows of i4x, i5x and i6x are encoded: the path through the trellis (packed_codes.h) that costs least.
// Private to core/feature.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/feature/packed_codes.h"

namespace afterimage::trellis {

// A state is the path of the last two channels: bit 0 the lowest bit of the previous code, bit 1 that of the
// one before. A code with lowest bit u leads from state s to u + 2 * (s & 1): state t is reached from t >> 1
// and from that plus 2, with u = t & 1. Levels fall into four subsets, every fourth one each; from state t >>
// 1 the code is of subset number t (2 * half + lowest bit of the rank in it), from the other state of t ^ 1.
inline constexpr size_t kStates = 4;
inline constexpr unsigned Origin(unsigned state, unsigned which) { return state >> 1 | which << 1; }
inline constexpr unsigned SubsetInto(unsigned state, unsigned which) { return state ^ which; }

// By a value's nearest integer + 128 (NearestOf): of each subset the level nearest to it, and its rank in its
// half.
struct Candidates {
  explicit Candidates(int bits);

  alignas(16) float level[256][kStates];
  int32_t rank[256][kStates];
  float farthest[256];  // of the four levels, how far the farthest one is, in steps
};
const Candidates& CandidatesOf(int bits);

// `scaled`: a value in steps from its channel's mean.
inline size_t NearestOf(float scaled) {
  constexpr float kMagic = 0x1.8p23f;  // adding and taking it away rounds, as in i8x.cc
  const float rounded = (std::clamp(scaled, -127.0f, 127.0f) + kMagic) - kMagic;
  return static_cast<size_t>(static_cast<int32_t>(rounded) + 128);
}
// The code that leads into `state` from its first or second origin; the q of a wide channel.
inline uint8_t CodeOf(const Candidates& candidates, size_t nearest, unsigned state, unsigned which) {
  const auto rank = static_cast<unsigned>(candidates.rank[nearest][SubsetInto(state, which)]);
  return static_cast<uint8_t>((rank & ~1u) | (state & 1));
}
inline uint8_t WideCodeOf(size_t nearest) { return static_cast<uint8_t>(nearest ^ 0x80); }

inline constexpr size_t kRowsAtOnce = 8;
using Rows = std::array<const float*, kRowsAtOnce>;
using CodesOfRows = std::array<uint8_t*, kRowsAtOnce>;

// Codes of least square error (Viterbi's search), for eight rows, of which some may be the same. Sets one
// byte a channel: its code, or the q of a wide channel.
void FindPathsPortably(const PackedChannels& channels, int bits, const Rows& rows, const CodesOfRows& codes);
// The same with AVX2, where HasWideI8x (core/feature/i8x.h): the same operations, and so the same codes.
void FindPathsWidely(const PackedChannels& channels, int bits, const Rows& rows, const CodesOfRows& codes);

}  // namespace afterimage::trellis
