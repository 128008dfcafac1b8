// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011).
#pragma once

#include <array>
#include <cstdint>

#include "core/identity/image_key.h"

namespace afterimage {

// What a stream of random numbers is for; part of the counter, so that streams never overlap.
enum class RandomPurpose : uint8_t { kCrop = 1, kFlip = 2, kMask = 3 };

// One block of four words: a pure function of (counter, key).
std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// The words of the blocks at {n, counter[1], counter[2], counter[3]}, n = counter[0], counter[0] + 1, ….
class PhiloxStream {
 public:
  PhiloxStream(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) : key_(key), counter_(counter) {}

  uint32_t Next32();
  // The low word is drawn first.
  uint64_t Next64();
  // Uniform in [0, bound) without bias, by Lemire's multiplication with rejection. `bound` > 0.
  uint32_t NextBelow(uint32_t bound);

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

// The random numbers of one (image key, view seed, purpose, stream index). Packing, fixed for ever:
//   key     = first 8 bytes of the image key as two little-endian words, each XORed with bytes 8-11 and 12-15
//             of the image key;
//   counter = {block number, view seed, stream index, purpose}.
// `stream_index` is 0 for views; for masks it is mixed from mask seed and mask index (see mask/mask.h).
class ViewRandom : public PhiloxStream {
 public:
  ViewRandom(const ImageKey& key, uint32_t view_seed, RandomPurpose purpose, uint32_t stream_index = 0);
};

}  // namespace afterimage
