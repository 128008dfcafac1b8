#include "core/view/philox.h"

#include "core/base/bytes.h"

namespace afterimage {
namespace {

// Salmon et al., table 2 and section 3.3: the multipliers of Philox4x32 and the Weyl sequence of its key.
constexpr uint64_t kMultiplier0 = 0xD2511F53;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9;
constexpr uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kNumRounds = 10;

std::array<uint32_t, 2> KeyWords(const ImageKey& key) {
  std::array<uint32_t, 2> words{};
  const uint8_t* bytes = key.bytes.data();
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = LoadLittleEndian<uint32_t>(bytes + 4 * i) ^ LoadLittleEndian<uint32_t>(bytes + 8 + 4 * i);
  }
  return words;
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kNumRounds; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

ViewRandom::ViewRandom(const ImageKey& key, uint32_t view_seed, RandomPurpose purpose, uint32_t stream_index)
    : PhiloxStream(KeyWords(key), {0, view_seed, stream_index, static_cast<uint32_t>(purpose)}) {}

uint32_t PhiloxStream::Next32() {
  if (used_ == 4) {
    block_ = Philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t PhiloxStream::Next64() {
  const uint64_t low = Next32();
  return low | uint64_t{Next32()} << 32;
}

uint32_t PhiloxStream::NextBelow(uint32_t bound) {
  uint64_t product = uint64_t{Next32()} * bound;
  if (static_cast<uint32_t>(product) < bound) {
    const uint32_t threshold = -bound % bound;  // 2^32 mod bound
    while (static_cast<uint32_t>(product) < threshold) product = uint64_t{Next32()} * bound;
  }
  return static_cast<uint32_t>(product >> 32);
}

}  // namespace afterimage
