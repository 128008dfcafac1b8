#include "core/feature/trellis.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/feature/packed_levels.h"

namespace afterimage::trellis {
namespace {

constexpr float kNowhere = std::numeric_limits<float>::infinity();
// Scaled values are cut here, in steps, so that what is far off does not take precision from the others' sum.
constexpr float kFar = 160.0f;

// What eight rows need on their way, side by side: that of channel c and row r at 8 * c + r.
struct Scratch {
  std::vector<float> scaled;
  std::vector<int32_t> nearest;  // (integer + 128) * kStates: where Candidates have it
  // Bit s: whether state s has its second origin; then the states of the best path.
  std::vector<int32_t> origins;

  void Resize(size_t width) {
    if (scaled.size() >= kRowsAtOnce * width) return;
    scaled.resize(kRowsAtOnce * width);
    nearest.resize(kRowsAtOnce * width);
    origins.resize(kRowsAtOnce * width);
  }
};

Scratch& ScratchFor(size_t width) {
  thread_local Scratch scratch;
  scratch.Resize(width);
  return scratch;
}

// From channel `begin` on.
void ScaleRows(const I8xChannels& steps, size_t begin, const Rows& rows, Scratch& scratch) {
  for (size_t channel = begin; channel < steps.mean.size(); ++channel) {
    for (size_t row = 0; row < kRowsAtOnce; ++row) {
      const float scaled = (rows[row][channel] - steps.mean[channel]) * steps.inverse_step[channel];
      scratch.scaled[kRowsAtOnce * channel + row] = std::clamp(scaled, -kFar, kFar);
      scratch.nearest[kRowsAtOnce * channel + row] = static_cast<int32_t>(NearestOf(scaled) * kStates);
    }
  }
}

// Costs of the best paths into the four states.
using Costs = std::array<float, kStates>;

}  // namespace

Candidates::Candidates(int bits) {
  const auto levels = PackedLevels(bits);
  for (int integer = -128; integer < 128; ++integer) {
    const auto at = static_cast<size_t>(integer + 128);
    for (size_t subset = 0; subset < kStates; ++subset) {
      const size_t half = subset >> 1, parity = subset & 1;
      size_t nearest = half + 2 * parity;
      for (size_t i = nearest; i < levels.size(); i += 4)
        if (std::abs(levels[i] - integer) < std::abs(levels[nearest] - integer)) nearest = i;
      level[at][subset] = levels[nearest];
      rank[at][subset] = static_cast<int32_t>(nearest / 2);
      const float distance = std::abs(level[at][subset] - static_cast<float>(integer));
      farthest[at] = std::max(subset == 0 ? 0.0f : farthest[at], distance);
    }
  }
}

const Candidates& CandidatesOf(int bits) {
  static const Candidates four(4), five(5), six(6);
  return bits == 4 ? four : bits == 5 ? five : six;
}

void FindPathsPortably(const PackedChannels& channels, int bits, const Rows& rows, const CodesOfRows& codes) {
  const size_t width = channels.width();
  const Candidates& candidates = CandidatesOf(bits);
  Scratch& scratch = ScratchFor(width);
  ScaleRows(channels.steps(bits), 0, rows, scratch);
  for (size_t row = 0; row < kRowsAtOnce; ++row) {
    Costs costs = {0, kNowhere, kNowhere, kNowhere};
    for (size_t channel = 0; channel < width; ++channel) {
      const size_t at = kRowsAtOnce * channel + row;
      const auto nearest = static_cast<size_t>(scratch.nearest[at]) / kStates;
      const bool is_wide = channels.from_first()[channel] >= 0;
      const float weight = channels.scale()[channel] * channels.scale()[channel];
      Costs distance, next;
      for (unsigned state = 0; state < kStates; ++state) {
        const float difference = scratch.scaled[at] - candidates.level[nearest][state];
        distance[state] = difference * difference * weight;
      }
      int32_t origins = 0;
      for (unsigned state = 0; state < kStates; ++state) {
        const float forced = (nearest & 1) == (state & 1) ? 0.0f : kNowhere;
        const float one = costs[Origin(state, 0)] + (is_wide ? forced : distance[SubsetInto(state, 0)]);
        const float other = costs[Origin(state, 1)] + (is_wide ? forced : distance[SubsetInto(state, 1)]);
        next[state] = other < one ? other : one;
        origins |= static_cast<int32_t>(other < one) << state;
      }
      costs = next;
      scratch.origins[at] = origins;
    }
    auto state = static_cast<unsigned>(std::ranges::min_element(costs) - costs.begin());
    for (size_t channel = width; channel-- > 0;) {
      const size_t at = kRowsAtOnce * channel + row;
      const auto nearest = static_cast<size_t>(scratch.nearest[at]) / kStates;
      const unsigned which = static_cast<unsigned>(scratch.origins[at]) >> state & 1;
      const bool is_wide = channels.from_first()[channel] >= 0;
      codes[row][channel] = is_wide ? WideCodeOf(nearest) : CodeOf(candidates, nearest, state, which);
      state = Origin(state, which);
    }
  }
}

#if defined(__x86_64__)

namespace {

// Registers hold one number of each of the eight rows.
struct Eight {
  __m256 of[kRowsAtOnce];
};

__attribute__((target("avx2"))) inline void Transpose(Eight& eight) {
  __m256* const v = eight.of;
  __m256 pairs[8], fours[8];
  for (size_t i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (size_t i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0b01'00'01'00);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0b11'10'11'10);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0b01'00'01'00);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0b11'10'11'10);
  }
  for (size_t i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

__attribute__((target("avx2"))) inline __m256 Clamp(__m256 values, float most) {
  return _mm256_min_ps(_mm256_max_ps(values, _mm256_set1_ps(-most)), _mm256_set1_ps(most));
}

__attribute__((target("avx2"))) void ScaleRowsWidely(const I8xChannels& steps, const Rows& rows,
                                                     Scratch& scratch) {
  size_t channel = 0;
  for (; channel + 8 <= steps.mean.size(); channel += 8) {
    Eight values;
    for (size_t row = 0; row < kRowsAtOnce; ++row) values.of[row] = _mm256_loadu_ps(rows[row] + channel);
    Transpose(values);
    for (size_t i = 0; i < 8; ++i) {
      const size_t at = kRowsAtOnce * (channel + i);
      const __m256 difference = _mm256_sub_ps(values.of[i], _mm256_broadcast_ss(&steps.mean[channel + i]));
      const __m256 scaled = _mm256_mul_ps(difference, _mm256_broadcast_ss(&steps.inverse_step[channel + i]));
      _mm256_storeu_ps(&scratch.scaled[at], Clamp(scaled, kFar));
      const __m256i integers = _mm256_cvtps_epi32(Clamp(scaled, 127.0f));  // to the nearest, ties to even
      const __m256i places = _mm256_slli_epi32(_mm256_add_epi32(integers, _mm256_set1_epi32(128)), 2);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(&scratch.nearest[at]), places);
    }
  }
  ScaleRows(steps, channel, rows, scratch);
}

// Of the eight rows their levels of each subset.
__attribute__((target("avx2"))) inline void LoadLevels(const float* levels, const int32_t* nearest,
                                                       __m256 (&of_subset)[kStates]) {
  __m256 rows[4];  // row i in the lower half, row i + 4 in the upper one
  for (size_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_load_ps(levels + nearest[i])),
                                   _mm_load_ps(levels + nearest[i + 4]), 1);
  }
  const __m256 a = _mm256_unpacklo_ps(rows[0], rows[1]), b = _mm256_unpackhi_ps(rows[0], rows[1]);
  const __m256 c = _mm256_unpacklo_ps(rows[2], rows[3]), d = _mm256_unpackhi_ps(rows[2], rows[3]);
  of_subset[0] = _mm256_shuffle_ps(a, c, 0b01'00'01'00);
  of_subset[1] = _mm256_shuffle_ps(a, c, 0b11'10'11'10);
  of_subset[2] = _mm256_shuffle_ps(b, d, 0b01'00'01'00);
  of_subset[3] = _mm256_shuffle_ps(b, d, 0b11'10'11'10);
}

// One channel on: `into` and `across` are the costs of the codes into each state from its first and its
// second origin. Returns the bits of Scratch::origins.
__attribute__((target("avx2"))) inline __m256i Advance(__m256 (&costs)[kStates],
                                                       const __m256 (&into)[kStates],
                                                       const __m256 (&across)[kStates]) {
  __m256i origins = _mm256_setzero_si256();
  __m256 next[kStates];
  for (unsigned state = 0; state < kStates; ++state) {
    const __m256 one = _mm256_add_ps(costs[Origin(state, 0)], into[state]);
    const __m256 other = _mm256_add_ps(costs[Origin(state, 1)], across[state]);
    next[state] = _mm256_min_ps(other, one);  // the second of them where they are equal
    const __m256i takes_other = _mm256_castps_si256(_mm256_cmp_ps(other, one, _CMP_LT_OQ));
    origins = _mm256_or_si256(origins, _mm256_and_si256(takes_other, _mm256_set1_epi32(1 << state)));
  }
  for (unsigned state = 0; state < kStates; ++state) costs[state] = next[state];
  return origins;
}

__attribute__((target("avx2"))) inline __m256i LoadOfRows(const std::vector<int32_t>& numbers,
                                                          size_t channel) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&numbers[kRowsAtOnce * channel]));
}
__attribute__((target("avx2"))) inline void StoreOfRows(__m256i values, std::vector<int32_t>& numbers,
                                                        size_t channel) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(&numbers[kRowsAtOnce * channel]), values);
}

// From the cheapest last states back: Scratch::origins become the states of the best paths.
__attribute__((target("avx2"))) void FollowBack(size_t width, const __m256 (&costs)[kStates],
                                                Scratch& scratch) {
  __m256 least = costs[0];
  __m256i states = _mm256_setzero_si256();
  for (int state = 1; state < static_cast<int>(kStates); ++state) {
    const __m256i less = _mm256_castps_si256(_mm256_cmp_ps(costs[state], least, _CMP_LT_OQ));
    states = _mm256_blendv_epi8(states, _mm256_set1_epi32(state), less);
    least = _mm256_min_ps(costs[state], least);
  }
  for (size_t channel = width; channel-- > 0;) {
    const __m256i origins = LoadOfRows(scratch.origins, channel);
    StoreOfRows(states, scratch.origins, channel);
    const __m256i second = _mm256_and_si256(_mm256_srlv_epi32(origins, states), _mm256_set1_epi32(1));
    states = _mm256_or_si256(_mm256_srli_epi32(states, 1), _mm256_slli_epi32(second, 1));
  }
}

// The codes of the states that FollowBack has left.
__attribute__((target("avx2"))) void CodesOfStates(const PackedChannels& channels,
                                                   const Candidates& candidates, const Scratch& scratch,
                                                   const CodesOfRows& codes) {
  const size_t width = channels.width();
  const __m256i one = _mm256_set1_epi32(1);
  __m256i before = _mm256_setzero_si256();  // of the code two channels before, which the last state has
  for (size_t begin = 0; begin < width; begin += sizeof(uint32_t)) {
    // A row's codes of up to four channels, in its 32 bits.
    const size_t count = std::min(sizeof(uint32_t), width - begin);
    __m256i together = _mm256_setzero_si256();
    for (size_t i = 0; i < count; ++i) {
      const __m256i states = LoadOfRows(scratch.origins, begin + i);
      const __m256i places =
          _mm256_add_epi32(LoadOfRows(scratch.nearest, begin + i), _mm256_xor_si256(states, before));
      const __m256i ranks = _mm256_i32gather_epi32(&candidates.rank[0][0], places, sizeof(int32_t));
      const __m256i code = _mm256_or_si256(_mm256_andnot_si256(one, ranks), _mm256_and_si256(states, one));
      together = _mm256_or_si256(together, _mm256_slli_epi32(code, static_cast<int>(8 * i)));
      before = _mm256_srli_epi32(states, 1);
    }
    alignas(32) uint32_t of_rows[kRowsAtOnce];
    _mm256_store_si256(reinterpret_cast<__m256i*>(of_rows), together);
    for (size_t row = 0; row < kRowsAtOnce; ++row) {
      if (count == sizeof(uint32_t)) {
        std::memcpy(codes[row] + begin, &of_rows[row], sizeof(uint32_t));
      } else {
        std::memcpy(codes[row] + begin, &of_rows[row], count);
      }
    }
  }
  for (const uint16_t channel : channels.wide()) {
    for (size_t row = 0; row < kRowsAtOnce; ++row) {
      const auto nearest = static_cast<size_t>(scratch.nearest[kRowsAtOnce * channel + row]) / kStates;
      codes[row][channel] = WideCodeOf(nearest);
    }
  }
}

}  // namespace

__attribute__((target("avx2"))) void FindPathsWidely(const PackedChannels& channels, int bits,
                                                     const Rows& rows, const CodesOfRows& codes) {
  const size_t width = channels.width();
  const Candidates& candidates = CandidatesOf(bits);
  Scratch& scratch = ScratchFor(width);
  ScaleRowsWidely(channels.steps(bits), rows, scratch);
  const __m256 nowhere = _mm256_set1_ps(kNowhere);
  __m256 costs[kStates] = {_mm256_setzero_ps(), nowhere, nowhere, nowhere};
  const float* const levels = &candidates.level[0][0];
  const float* const scale = channels.scale().data();
  size_t channel = 0;
  for (size_t i = 0; i <= channels.wide().size(); ++i) {
    const size_t end = i < channels.wide().size() ? channels.wide()[i] : width;
    for (; channel < end; ++channel) {
      const __m256 one_scale = _mm256_broadcast_ss(scale + channel);
      const __m256 weight = _mm256_mul_ps(one_scale, one_scale);
      const __m256 scaled = _mm256_loadu_ps(&scratch.scaled[kRowsAtOnce * channel]);
      __m256 distance[kStates];
      LoadLevels(levels, &scratch.nearest[kRowsAtOnce * channel], distance);
      for (__m256& of_subset : distance) {
        const __m256 difference = _mm256_sub_ps(scaled, of_subset);
        of_subset = _mm256_mul_ps(_mm256_mul_ps(difference, difference), weight);
      }
      const __m256 across[] = {distance[1], distance[0], distance[3], distance[2]};
      StoreOfRows(Advance(costs, distance, across), scratch.origins, channel);
    }
    if (channel == width) break;
    // A wide channel: its lowest bit leads to the states that have it.
    const __m256i parity = _mm256_and_si256(LoadOfRows(scratch.nearest, channel), _mm256_set1_epi32(kStates));
    const __m256 is_even = _mm256_castsi256_ps(_mm256_cmpeq_epi32(parity, _mm256_setzero_si256()));
    const __m256 to_even = _mm256_andnot_ps(is_even, nowhere), to_odd = _mm256_and_ps(is_even, nowhere);
    const __m256 forced[] = {to_even, to_odd, to_even, to_odd};
    StoreOfRows(Advance(costs, forced, forced), scratch.origins, channel);
    ++channel;
  }
  FollowBack(width, costs, scratch);
  CodesOfStates(channels, candidates, scratch, codes);
}

#else

void FindPathsWidely(const PackedChannels& channels, int bits, const Rows& rows, const CodesOfRows& codes) {
  FindPathsPortably(channels, bits, rows, codes);
}

#endif

}  // namespace afterimage::trellis
