#include "core/feature/packed_codes.h"

#include <algorithm>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/feature/packed_layout.h"
#include "core/feature/packed_levels.h"

namespace afterimage {
namespace {

// The codes of a row lie here on their way, with two of 0 before the first channel; registers reach beyond
// the last one.
constexpr size_t kBefore = 32, kBehind = 64;
uint8_t* Scratch(size_t width) {
  thread_local std::vector<uint8_t> codes;
  const size_t room = kBefore + width + kBehind;
  if (codes.size() < room) codes.resize(room);
  return codes.data() + kBefore;
}

}  // namespace

namespace internal {

void UnpackRowPortably(const PackedChannels& channels, int bits, const uint8_t* row, int8_t* target) {
  const auto width = static_cast<uint32_t>(channels.width());
  uint8_t* const codes = Scratch(width);
  const int8_t* const levels = PackedLevelsOf(bits).ascending;
  for (uint32_t i = 0; i < width; ++i) codes[i] = static_cast<uint8_t>(PackedCodeAt(bits, width, row, i));
  for (uint32_t i = 0; i < width; ++i) {
    const uint8_t* const code = codes + i;
    target[i] = levels[PackedLevelOf(code[0], code[-1], code[-2])];
  }
  for (uint32_t i = 0; i < channels.wide().size(); ++i) {
    const uint16_t channel = channels.wide()[i];
    target[channel] = PackedWideAt(bits, width, row, channel, i);
  }
}

#if defined(__x86_64__)

namespace {

__attribute__((target("avx2"))) inline __m256i LoadBytes(const void* bytes) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(bytes));
}
__attribute__((target("avx2"))) inline __m256i LoadTwice(const int8_t* sixteen) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(sixteen)));
}

__attribute__((target("avx2"))) inline void StoreBytes(__m256i bytes, void* target) {
  _mm256_storeu_si256(static_cast<__m256i*>(target), bytes);
}

// The codes of a row, in whole registers: `row` and `codes` go on for one more than they hold.
__attribute__((target("avx2"))) void UnpackCodesWidely(int bits, size_t width, const uint8_t* row,
                                                       uint8_t* codes) {
  // Bytes are shifted in lanes of two, and what crosses between them is masked away.
  const __m256i lower_half = _mm256_set1_epi8(15);
  const size_t half = (width + 1) / 2;
  for (size_t i = 0; i < half; i += 32)
    StoreBytes(_mm256_and_si256(LoadBytes(row + i), lower_half), codes + i);
  for (size_t i = 0; i < width - half; i += 32) {
    const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(LoadBytes(row + i), 4), lower_half);
    StoreBytes(upper, codes + half + i);
  }
  if (bits == 4) return;
  const size_t columns = PackedExtraBytes(bits, width);
  const uint8_t* const extra = row + half;
  const int step = bits - 4;
  const __m256i mask = _mm256_set1_epi8(static_cast<char>((1 << step) - 1));
  // The last register of a group has bytes of the next one.
  alignas(32) static constexpr uint8_t kOurs[64] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                                    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                                    255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  for (size_t k = 0; k * columns < width; ++k) {
    const size_t count = std::min(columns, width - k * columns);
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(k) * step);
    for (size_t i = 0; i < count; i += 32) {
      uint8_t* const target = codes + k * columns + i;
      const __m256i upper =
          _mm256_slli_epi16(_mm256_and_si256(_mm256_srl_epi16(LoadBytes(extra + i), shift), mask), 4);
      const __m256i ours = LoadBytes(kOurs + 32 - std::min<size_t>(count - i, 32));
      StoreBytes(_mm256_or_si256(LoadBytes(target), _mm256_and_si256(upper, ours)), target);
    }
  }
}

// Of 32 codes with 4 to 6 bits the level of each in PackedLevelTable::half.
template <int bits>
__attribute__((target("avx2"))) inline __m256i LevelsInHalf(const int8_t* half, __m256i ranks) {
  // Shuffles look at the lower four bits of a byte, and at the upper one, which is 0.
  const __m256i lower = _mm256_and_si256(ranks, _mm256_set1_epi8(15));
  __m256i levels = _mm256_shuffle_epi8(LoadTwice(half), lower);
  if constexpr (bits >= 5) {
    const __m256i bit4 = _mm256_slli_epi16(ranks, 3);  // blending looks at the upper bit of each byte
    levels = _mm256_blendv_epi8(levels, _mm256_shuffle_epi8(LoadTwice(half + 16), lower), bit4);
    if constexpr (bits == 6) {
      const __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(LoadTwice(half + 32), lower),
                                               _mm256_shuffle_epi8(LoadTwice(half + 48), lower), bit4);
      levels = _mm256_blendv_epi8(levels, upper, _mm256_slli_epi16(ranks, 2));
    }
  }
  return levels;
}

// The q of a row from its codes, 32 channels at a time: `target` has room for whole registers.
template <int bits>
__attribute__((target("avx2"))) void LevelsOfCodes(const PackedChannels& channels, const uint8_t* codes,
                                                   const uint8_t* uppers, int8_t* target) {
  const int8_t* const half = PackedLevelsOf(bits).half;
  const __m256i one = _mm256_set1_epi8(1), all = _mm256_set1_epi8((1 << bits) - 1);
  const int8_t* const from_first = channels.from_first().data();
  const uint16_t* const first_wide = channels.first_wide().data();
  for (size_t at = 0, width = channels.width(); at < width; at += 32) {
    const __m256i code = LoadBytes(codes + at);
    const __m256i rank = _mm256_xor_si256(code, _mm256_and_si256(LoadBytes(codes + at - 2), one));
    // All bits set where the code counts in the other half, whose levels are those of this one, backwards and
    // with the other sign.
    const __m256i other =
        _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_and_si256(LoadBytes(codes + at - 1), one));
    const __m256i mirrored = _mm256_xor_si256(rank, _mm256_and_si256(other, all));
    const __m256i level = LevelsInHalf<bits>(half, mirrored);
    const __m256i signed_level = _mm256_sub_epi8(_mm256_xor_si256(level, other), other);
    // Wide channels: the upper half from where it lies, the lower one from the code.
    const __m256i from = LoadBytes(from_first + at);
    const __m256i upper =
        _mm256_set_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(uppers + first_wide[at / 16 + 1])),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(uppers + first_wide[at / 16])));
    const __m256i byte =
        _mm256_or_si256(_mm256_shuffle_epi8(upper, from), _mm256_and_si256(code, _mm256_set1_epi8(15)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + at),
                        _mm256_blendv_epi8(byte, signed_level, from));
  }
}

// Upper halves of wide channels' bytes, two in a byte, into upper halves of bytes, four to eight at a time.
// `uppers` has room for seven more.
void SpreadUppers(size_t num_wide, const uint8_t* packed, uint8_t* uppers) {
  const size_t count = (num_wide + 1) / 2;
  for (size_t i = 0; i < count; i += sizeof(uint32_t)) {
    uint32_t four = 0;
    if (i + sizeof(four) <= count) {
      std::memcpy(&four, packed + i, sizeof(four));
    } else {
      for (size_t k = i; k < count; ++k) four |= static_cast<uint32_t>(packed[k]) << (8 * (k - i));
    }
    uint64_t eight = (uint64_t{four} << 16 | four) & 0x0000ffff0000ffff;
    eight = (eight << 8 | eight) & 0x00ff00ff00ff00ff;
    eight = (eight << 4 & 0x00f000f000f000f0) | (eight << 8 & 0xf000f000f000f000);
    std::memcpy(uppers + 2 * i, &eight, sizeof(eight));
  }
}

}  // namespace

void UnpackRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, int8_t* target) {
  const size_t width = channels.width(), num_wide = channels.wide().size();
  thread_local std::vector<uint8_t> uppers, copy;
  if (uppers.size() < num_wide + kBehind) uppers.resize(num_wide + kBehind);
  const size_t code_bytes = PackedCodeBytes(bits, width);
  SpreadUppers(num_wide, row + code_bytes, uppers.data());
  if ((width + 1) / 2 % 32 != 0 || PackedExtraBytes(bits, width) % 32 != 0) {
    if (copy.size() < code_bytes + kBehind) copy.resize(code_bytes + kBehind);
    std::memcpy(copy.data(), row, code_bytes);
    row = copy.data();
  }
  uint8_t* const codes = Scratch(width);
  UnpackCodesWidely(bits, width, row, codes);
  (bits == 4   ? LevelsOfCodes<4>
   : bits == 5 ? LevelsOfCodes<5>
               : LevelsOfCodes<6>)(channels, codes, uppers.data(), target);
}

bool HasWidePacked() { return HasWideI8x(); }

#else

void UnpackRowWidely(const PackedChannels& channels, int bits, const uint8_t* row, int8_t* target) {
  UnpackRowPortably(channels, bits, row, target);
}
bool HasWidePacked() { return false; }

#endif

}  // namespace internal

PackedChannels::PackedChannels(const std::vector<float>& means, const std::vector<float>& sigma,
                               std::vector<uint16_t> wide_channels)
    : wide_(std::move(wide_channels)) {
  for (const float deviation : sigma) scale_.push_back(std::clamp(deviation, kSmallestScale, kLargestScale));
  for (const int bits : {4, 5, 6}) {
    std::vector<float> steps;
    for (const float one : scale_) steps.push_back(one / PackedStepsPerScale(bits));
    for (const uint16_t channel : wide_)
      steps[channel] = std::clamp(sigma[channel] * 5.0f / 127.0f, kI8xSmallestStep, kLargestWideStep);
    steps_[static_cast<size_t>(bits - 4)] = I8xChannels::WithSteps(means, std::move(steps));
  }
  from_first_.assign((width() + 31) / 32 * 32, int8_t{-128});
  size_t num_wide = 0;
  for (size_t begin = 0; begin < from_first_.size(); begin += 16) {
    first_wide_.push_back(static_cast<uint16_t>(num_wide));
    for (; num_wide < wide_.size() && wide_[num_wide] < begin + 16; ++num_wide)
      from_first_[wide_[num_wide]] = static_cast<int8_t>(num_wide - first_wide_.back());
  }
}

size_t PackedRowBytes(int bits, size_t width, size_t num_wide) {
  return PackedCodeBytes(bits, width) + (num_wide + 1) / 2;
}

size_t PackedChannels::RowBytes(int bits) const { return PackedRowBytes(bits, width(), wide_.size()); }

const int8_t* UnpackRow(const PackedChannels& channels, int bits, const uint8_t* row) {
  thread_local std::vector<int8_t> q;
  if (q.size() < channels.width() + kBehind) q.resize(channels.width() + kBehind);
  (internal::HasWidePacked() ? internal::UnpackRowWidely : internal::UnpackRowPortably)(channels, bits, row,
                                                                                        q.data());
  return q.data();
}

void DecodePackedRow(const PackedChannels& channels, int bits, const uint8_t* row, float* target) {
  DecodeI8xRow(channels.steps(bits), UnpackRow(channels, bits, row), target);
}

}  // namespace afterimage
