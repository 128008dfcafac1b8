#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "core/feature/exact_path.h"
#include "core/feature/packed_codes.h"
#include "core/feature/packed_layout.h"
#include "core/feature/trellis.h"

namespace afterimage {
namespace {

template <int bits, size_t k>
inline __attribute__((always_inline)) void PackExtra(size_t width, size_t columns,
                                                     const uint8_t* __restrict codes,
                                                     uint8_t* __restrict extra) {
  if (k * columns >= width) return;
  constexpr unsigned kMask = (1u << (bits - 4)) - 1;
  const size_t count = std::min(columns, width - k * columns);
  const uint8_t* __restrict const source = codes + k * columns;
  for (size_t i = 0; i < count; ++i)
    extra[i] = static_cast<uint8_t>(extra[i] | (source[i] >> 4 & kMask) << (k * (bits - 4)));
  if constexpr (k + 1 < PackedGroups(bits)) PackExtra<bits, k + 1>(width, columns, codes, extra);
}

inline __attribute__((always_inline)) void PackCodes(int bits, size_t width, const uint8_t* __restrict codes,
                                                     uint8_t* __restrict target) {
  const size_t half = (width + 1) / 2;
  for (size_t i = 0; i < width - half; ++i) {
    target[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + half] & 15) << 4);
  }
  if (half > width - half) target[half - 1] = codes[half - 1] & 15;
  const size_t columns = PackedExtraBytes(bits, width);
  std::memset(target + half, 0, columns);
  if (bits == 5) PackExtra<5, 0>(width, columns, codes, target + half);
  if (bits == 6) PackExtra<6, 0>(width, columns, codes, target + half);
}

inline __attribute__((always_inline)) size_t CountExceptions(size_t width, const float* values,
                                                             const float* decoded) {
  uint32_t count = 0;
  for (size_t i = 0; i < width; ++i) count += IsPackedException(values[i], decoded[i]) ? 1 : 0;
  return count;
}

// The upper halves of wide channels' bytes, to where they lie in the row; bits of codes beyond the fourth are
// 0.
void PackWide(const PackedChannels& channels, int bits, const uint8_t* codes, uint8_t* row) {
  const size_t width = channels.width(), half = (width + 1) / 2, columns = PackedExtraBytes(bits, width);
  uint8_t* const uppers = row + half + columns;
  std::memset(uppers, 0, (channels.wide().size() + 1) / 2);
  for (size_t i = 0; i < channels.wide().size(); ++i) {
    const size_t channel = channels.wide()[i];
    const uint8_t q = codes[channel];
    uppers[i / 2] = static_cast<uint8_t>(uppers[i / 2] | (i % 2 == 0 ? q >> 4 : q & 0xf0));
    if (columns == 0) continue;
    const unsigned mask = ((1u << (bits - 4)) - 1) << channel / columns * static_cast<size_t>(bits - 4);
    row[half + channel % columns] = static_cast<uint8_t>(row[half + channel % columns] & ~mask);
  }
}

// How a processor does the parts of a row.
struct Ways {
  void (*find_paths)(const PackedChannels&, int, const trellis::Rows&, const trellis::CodesOfRows&);
  void (*pack)(int bits, size_t width, const uint8_t* codes, uint8_t* row);
  void (*unpack)(const PackedChannels&, int, const uint8_t*, int8_t*);
  void (*decode)(const I8xChannels&, const int8_t*, float*);
  size_t (*count_exceptions)(size_t width, const float* values, const float* decoded);
};

// At most kRowsAtOnce rows.
void EncodeFewRows(const PackedChannels& channels, int bits, const float* values, size_t count,
                   const Ways& ways, uint8_t* target, float* decoded, size_t* num_exceptions) {
  const size_t width = channels.width(), row_bytes = channels.RowBytes(bits);
  thread_local std::vector<uint8_t> scratch;
  if (scratch.size() < (trellis::kRowsAtOnce + 1) * width) scratch.resize((trellis::kRowsAtOnce + 1) * width);
  uint8_t* const unused = scratch.data() + trellis::kRowsAtOnce * width;
  trellis::Rows rows;
  trellis::CodesOfRows codes, searched;
  std::array<bool, trellis::kRowsAtOnce> is_exact{};
  for (size_t i = 0; i < trellis::kRowsAtOnce; ++i) {
    rows[i] = values + std::min(i, count - 1) * width;
    codes[i] = scratch.data() + i * width;
    is_exact[i] = i >= count || trellis::FindExactPath(channels, bits, rows[i], codes[i]);
    searched[i] = is_exact[i] ? unused : codes[i];
  }
  if (std::ranges::find(is_exact, false) != is_exact.end()) ways.find_paths(channels, bits, rows, searched);
  std::vector<int8_t> q(width + 32);
  for (size_t i = 0; i < count; ++i) {
    uint8_t* const row = target + i * row_bytes;
    float* const back = decoded + i * width;
    const auto finish = [&] {
      ways.pack(bits, width, codes[i], row);
      PackWide(channels, bits, codes[i], row);
      ways.unpack(channels, bits, row, q.data());
      ways.decode(channels.steps(bits), q.data(), back);
      return ways.count_exceptions(width, rows[i], back);
    };
    num_exceptions[i] = finish();
    if (num_exceptions[i] == 0 || is_exact[i]) continue;
    trellis::SettleExceptions(channels, bits, rows[i], back, codes[i]);
    num_exceptions[i] = finish();
  }
}

void EncodeRows(const PackedChannels& channels, int bits, const float* values, size_t count, const Ways& ways,
                uint8_t* target, float* decoded, size_t* num_exceptions) {
  const size_t width = channels.width(), row_bytes = channels.RowBytes(bits);
  for (size_t row = 0; row < count; row += trellis::kRowsAtOnce) {
    EncodeFewRows(channels, bits, values + row * width, std::min(trellis::kRowsAtOnce, count - row), ways,
                  target + row * row_bytes, decoded + row * width, num_exceptions + row);
  }
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) void PackCodesWidely(int bits, size_t width, const uint8_t* codes,
                                                     uint8_t* row) {
  PackCodes(bits, width, codes, row);
}

__attribute__((target("avx2"))) size_t CountExceptionsWidely(size_t width, const float* values,
                                                             const float* decoded) {
  return CountExceptions(width, values, decoded);
}

#endif

}  // namespace

namespace internal {

void EncodePackedRowsPortably(const PackedChannels& channels, int bits, const float* values, size_t count,
                              uint8_t* target, float* decoded, size_t* num_exceptions) {
  EncodeRows(
      channels, bits, values, count,
      {trellis::FindPathsPortably, PackCodes, UnpackRowPortably, DecodeI8xRowPortably, CountExceptions},
      target, decoded, num_exceptions);
}

#if defined(__x86_64__)
void EncodePackedRowsWidely(const PackedChannels& channels, int bits, const float* values, size_t count,
                            uint8_t* target, float* decoded, size_t* num_exceptions) {
  EncodeRows(
      channels, bits, values, count,
      {trellis::FindPathsWidely, PackCodesWidely, UnpackRowWidely, DecodeI8xRowWidely, CountExceptionsWidely},
      target, decoded, num_exceptions);
}
#else
void EncodePackedRowsWidely(const PackedChannels& channels, int bits, const float* values, size_t count,
                            uint8_t* target, float* decoded, size_t* num_exceptions) {
  EncodePackedRowsPortably(channels, bits, values, count, target, decoded, num_exceptions);
}
#endif

}  // namespace internal

void EncodePackedRows(const PackedChannels& channels, int bits, const float* values, size_t count,
                      uint8_t* target, float* decoded, size_t* num_exceptions) {
  (internal::HasWidePacked() ? internal::EncodePackedRowsWidely : internal::EncodePackedRowsPortably)(
      channels, bits, values, count, target, decoded, num_exceptions);
}

CodedPlane EncodePackedPlane(const PackedChannels& channels, int bits, std::span<const float> values) {
  const size_t width = channels.width();
  const size_t row_bytes = channels.RowBytes(bits);
  constexpr size_t kRows = 16;
  std::vector<float> decoded(kRows * width);
  std::array<size_t, kRows> num_exceptions;
  return EncodeWithExceptions(values, [&](std::span<const float> rows, CodedPlane& plane) {
    const size_t max_exceptions = rows.size() / kValuesPerException, num_rows = rows.size() / width;
    plane.bytes.resize(num_rows * row_bytes);
    plane.exceptions.clear();
    for (size_t begin = 0; begin < num_rows; begin += kRows) {
      const size_t count = std::min(kRows, num_rows - begin);
      EncodePackedRows(channels, bits, rows.data() + begin * width, count,
                       plane.bytes.data() + begin * row_bytes, decoded.data(), num_exceptions.data());
      for (size_t i = 0; i < count; ++i) {
        if (plane.exceptions.size() + num_exceptions[i] > max_exceptions) return false;
        if (num_exceptions[i] == 0) continue;
        for (size_t channel = 0; channel < width; ++channel) {
          const size_t position = (begin + i) * width + channel;
          if (IsPackedException(rows[position], decoded[i * width + channel]))
            plane.exceptions.push_back({static_cast<uint32_t>(position), rows[position]});
        }
      }
    }
    return true;
  });
}

}  // namespace afterimage
