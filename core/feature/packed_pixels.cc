#include "core/feature/packed_pixels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

// Loops over rows that must be one with their caller, for positions to stay in registers. Beside the calls
// that the thread sanitizer puts in, gcc refuses.
#if defined(__SANITIZE_THREAD__)
#define AFTERIMAGE_WITH_CALLER inline
#else
#define AFTERIMAGE_WITH_CALLER inline __attribute__((always_inline))
#endif

namespace afterimage {
namespace {

constexpr size_t kColours = 3;
constexpr size_t kLengthBytes = kColours * kSymbols / 2;  // two lengths in a byte
constexpr size_t kLengthsAt = 2;                          // after predictor and colours
constexpr size_t kSizesAt = kLengthsAt + kLengthBytes;
constexpr size_t kEndBytes = sizeof(uint64_t);  // zeros, so that eight bytes can be loaded anywhere in a row

template <typename... Parts>
absl::Status Damaged(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("packed pixels: ", parts...));
}

std::vector<uint8_t>& Scratch(size_t size) {
  thread_local std::vector<uint8_t> bytes;
  if (bytes.size() < size) bytes.resize(size);
  return bytes;
}

using ColourCounts = std::array<SymbolCounts, kColours>;

// Of the residuals of every `stride`th row.
ColourCounts CountResiduals(const PixelLayout& layout, std::span<const uint8_t> rows, size_t stride) {
  const size_t row_bytes = kColours * layout.area();
  std::vector<uint8_t>& scratch = Scratch(2 * (row_bytes + kPixelSlack));
  uint8_t* const residuals = scratch.data() + row_bytes + kPixelSlack;
  ColourCounts counts = {};
  for (size_t at = 0; at < rows.size(); at += stride * row_bytes) {
    ToResiduals(layout, rows.data() + at, scratch.data(), residuals);
    for (size_t colour = 0; colour < kColours; ++colour) {
      SymbolCounts& of_colour = counts[colour];
      for (size_t i = 0; i < layout.area(); ++i) ++of_colour[residuals[colour * layout.area() + i]];
    }
  }
  return counts;
}

// Bits that order-0 codes would take.
double Entropy(const ColourCounts& counts) {
  double bits = 0;
  for (const SymbolCounts& of_colour : counts) {
    uint64_t total = 0;
    for (const uint32_t count : of_colour) total += count;
    for (const uint32_t count : of_colour) {
      if (count > 0) bits -= count * std::log2(static_cast<double>(count) / static_cast<double>(total));
    }
  }
  return bits;
}

// The one of the smallest entropy, by every eighth row.
PixelLayout ChooseLayout(size_t patch_size, std::span<const uint8_t> rows) {
  PixelLayout best;
  double least = 0;
  for (const PixelPredictor predictor :
       {PixelPredictor::kGradient, PixelPredictor::kUp, PixelPredictor::kLeft}) {
    for (const PixelColours colours : {PixelColours::kLessGreen, PixelColours::kAsTheyAre}) {
      const PixelLayout layout{patch_size, predictor, colours};
      const double entropy = Entropy(CountResiduals(layout, rows, 8));
      if (best.patch_size != 0 && !(entropy < least)) continue;
      best = layout;
      least = entropy;
    }
  }
  return best;
}

// Appends the codes of one row.
void AppendRow(const std::array<std::array<HuffmanCode, kSymbols>, kColours>& codes, size_t area,
               const uint8_t* residuals, std::vector<uint8_t>& target) {
  const size_t begin = target.size();
  target.resize(begin + (kColours * area * kMaxCodeBits + 7) / 8 + sizeof(uint64_t));
  uint8_t* end = target.data() + begin;
  uint64_t bits = 0;
  size_t num_bits = 0;  // at most 7 between symbols
  for (size_t colour = 0; colour < kColours; ++colour) {
    for (size_t i = 0; i < area; ++i) {
      const HuffmanCode code = codes[colour][residuals[colour * area + i]];
      bits |= uint64_t{code.bits} << num_bits;
      num_bits += code.length;
      std::memcpy(end, &bits, sizeof(bits));
      end += num_bits / 8;
      bits >>= num_bits / 8 * 8;
      num_bits %= 8;
    }
  }
  if (num_bits > 0) ++end;  // memcpy has put them there
  target.resize(static_cast<size_t>(end - target.data()));
}

constexpr size_t kSymbolsPerLoad = 5;
static_assert(kSymbolsPerLoad * kMaxCodeBits + 7 < 63);  // up to 7 bits of a byte are behind, one is the mark

// Residuals of rows that are decoded together lie so far apart. A constant, which takes no registers; not a
// multiple of a page, so that a cache holds them all.
constexpr size_t kResidualStride = kMaxPackedRowBytes + 832;
static_assert(kResidualStride >= kMaxPackedRowBytes + kPixelSlack);

// The next `kCount` symbols of `kRows` streams, each from its own position, a number of bits in `bytes`.
// `last`: the last byte at which eight can be loaded; codes that lead beyond it are not those of an encoder:
// they give whatever comes, and a position beyond. Without kBounded none can lead there.
template <size_t kRows, size_t kCount, bool kBounded>
AFTERIMAGE_WITH_CALLER void DecodeSymbols(const uint8_t* bytes, size_t last, const uint16_t* table,
                                          uint64_t (&position)[kRows], uint8_t* target) {
  // A mark on top, which comes down as codes are shifted out: where it is says how many bits that were.
  constexpr uint64_t kMark = uint64_t{1} << 63;
  uint64_t word[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    const size_t at = kBounded ? std::min<size_t>(position[r] >> 3, last) : position[r] >> 3;
    word[r] = (LoadLittleEndian<uint64_t>(bytes + at) | kMark) >> (position[r] & 7);
  }
  for (size_t k = 0; k < kCount; ++k) {
    for (size_t r = 0; r < kRows; ++r) {
      const uint32_t entry = table[word[r] & ((1 << kMaxCodeBits) - 1)];
      word[r] >>= entry & 63;
      target[r * kResidualStride + k] = static_cast<uint8_t>(entry >> 8);
    }
  }
  for (size_t r = 0; r < kRows; ++r)
    position[r] = (position[r] & ~uint64_t{7}) + static_cast<uint64_t>(std::countl_zero(word[r]));
}

// Residuals of `kRows` rows.
template <size_t kRows, bool kBounded>
AFTERIMAGE_WITH_CALLER void DecodeResiduals(ByteSpan bytes, const std::array<HuffmanTable, 3>& tables,
                                            size_t area, uint64_t (&positions)[kRows], uint8_t* target) {
  const size_t last = bytes.size() - sizeof(uint64_t);
  uint64_t position[kRows];  // a copy, to be held in registers
  std::ranges::copy(positions, position);
  for (const HuffmanTable& table : tables) {
    size_t i = 0;
    for (; i + kSymbolsPerLoad <= area; i += kSymbolsPerLoad)
      DecodeSymbols<kRows, kSymbolsPerLoad, kBounded>(bytes.data(), last, table.data(), position, target + i);
    for (; i < area; ++i)
      DecodeSymbols<kRows, 1, kBounded>(bytes.data(), last, table.data(), position, target + i);
    target += area;
  }
  std::ranges::copy(position, positions);
}

constexpr size_t kRowsAtOnce = 8;  // the codes of one row wait for each other, those of several do not

#if defined(__x86_64__)
#define AFTERIMAGE_WITH_BMI2 __attribute__((target("bmi2,lzcnt")))
bool HasBmi2() {
  static const bool has = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;  // clang 14 does not know "lzcnt" by name
    return __builtin_cpu_supports("bmi2") && __get_cpuid(0x80000001, &a, &b, &c, &d) != 0 &&
           (c & bit_LZCNT) != 0;
  }();
  return has;
}
#else
#define AFTERIMAGE_WITH_BMI2
bool HasBmi2() { return false; }
#endif

AFTERIMAGE_WITH_CALLER void DecodeBatch(ByteSpan bytes, const std::array<HuffmanTable, 3>& tables,
                                        size_t area, uint64_t (&position)[kRowsAtOnce], uint8_t* target) {
  // Of the longest codes.
  const uint64_t end = std::ranges::max(position) + kColours * area * kMaxCodeBits;
  if (end <= 8 * (bytes.size() - sizeof(uint64_t))) {
    DecodeResiduals<kRowsAtOnce, false>(bytes, tables, area, position, target);
  } else {
    DecodeResiduals<kRowsAtOnce, true>(bytes, tables, area, position, target);
  }
}

AFTERIMAGE_WITH_BMI2 void DecodeBatchWidely(ByteSpan bytes, const std::array<HuffmanTable, 3>& tables,
                                            size_t area, uint64_t (&position)[kRowsAtOnce], uint8_t* target) {
  DecodeBatch(bytes, tables, area, position, target);
}
#undef AFTERIMAGE_WITH_BMI2

void DecodeBatchPortably(ByteSpan bytes, const std::array<HuffmanTable, 3>& tables, size_t area,
                         uint64_t (&position)[kRowsAtOnce], uint8_t* target) {
  DecodeBatch(bytes, tables, area, position, target);
}

void DecodeOne(ByteSpan bytes, const std::array<HuffmanTable, 3>& tables, size_t area,
               uint64_t (&position)[1], uint8_t* target) {
  DecodeResiduals<1, true>(bytes, tables, area, position, target);
}

}  // namespace

std::vector<uint8_t> PackPixels(uint32_t patch_size, std::span<const uint8_t> rows) {
  const size_t row_bytes = kColours * patch_size * patch_size;
  if (rows.empty() || row_bytes > kMaxPackedRowBytes || rows.size() > kMaxPackedPixelBytes) return {};
  const PixelLayout layout = ChooseLayout(patch_size, rows);
  const ColourCounts counts = CountResiduals(layout, rows, 1);
  const size_t num_rows = rows.size() / row_bytes;

  std::vector<uint8_t> bytes(kSizesAt + num_rows * sizeof(uint16_t));
  bytes[0] = static_cast<uint8_t>(layout.predictor);
  bytes[1] = static_cast<uint8_t>(layout.colours);
  std::array<std::array<HuffmanCode, kSymbols>, kColours> codes;
  for (size_t colour = 0; colour < kColours; ++colour) {
    const CodeLengths lengths = HuffmanLengths(counts[colour]);
    codes[colour] = HuffmanCodes(lengths);
    for (size_t i = 0; i < kSymbols; ++i) {
      bytes[kLengthsAt + (colour * kSymbols + i) / 2] |= static_cast<uint8_t>(lengths[i] << (i % 2 * 4));
    }
  }

  std::vector<uint8_t>& scratch = Scratch(2 * (row_bytes + kPixelSlack));
  uint8_t* const residuals = scratch.data() + row_bytes + kPixelSlack;
  for (size_t row = 0; row < num_rows; ++row) {
    ToResiduals(layout, rows.data() + row * row_bytes, scratch.data(), residuals);
    const size_t begin = bytes.size();
    AppendRow(codes, layout.area(), residuals, bytes);
    if (bytes.size() + kEndBytes >= rows.size()) return {};
    const uint16_t size = static_cast<uint16_t>(bytes.size() - begin);
    std::memcpy(bytes.data() + kSizesAt + row * sizeof(size), &size, sizeof(size));
  }
  bytes.resize(bytes.size() + kEndBytes);
  return bytes;
}

absl::StatusOr<PackedPixels> PackedPixels::Open(ByteSpan bytes, uint32_t num_rows, uint32_t patch_size) {
  const size_t rows_at = kSizesAt + num_rows * sizeof(uint16_t);
  if (bytes.size() < rows_at + kEndBytes) return Damaged(bytes.size(), " bytes for ", num_rows, " patches");
  if (bytes[0] > static_cast<uint8_t>(PixelPredictor::kGradient))
    return Damaged("unknown predictor ", bytes[0]);
  if (bytes[1] > static_cast<uint8_t>(PixelColours::kLessGreen)) return Damaged("unknown colours ", bytes[1]);
  PackedPixels pixels;
  pixels.bytes_ = bytes;
  pixels.layout_ = {patch_size, static_cast<PixelPredictor>(bytes[0]), static_cast<PixelColours>(bytes[1])};
  for (size_t colour = 0; colour < kColours; ++colour) {
    CodeLengths lengths;
    const uint8_t* const pairs = bytes.data() + kLengthsAt + colour * kSymbols / 2;
    for (size_t i = 0; i < kSymbols / 2; ++i) {
      lengths[2 * i] = pairs[i] & 15;
      lengths[2 * i + 1] = pairs[i] >> 4;
    }
    const absl::Status built = BuildHuffmanTable(lengths, pixels.tables_[colour]);
    if (!built.ok()) return Damaged(built.message());
  }
  uint64_t end = rows_at;
  pixels.begin_.reserve(num_rows + size_t{1});
  for (uint32_t row = 0; row < num_rows; ++row) {
    pixels.begin_.push_back(static_cast<uint32_t>(end));
    end += LoadLittleEndian<uint16_t>(bytes.data() + kSizesAt + row * sizeof(uint16_t));
  }
  pixels.begin_.push_back(static_cast<uint32_t>(end));
  if (end + kEndBytes != bytes.size()) return Damaged(num_rows, " patches in ", bytes.size(), " bytes");
  if (LoadLittleEndian<uint64_t>(bytes.data() + end) != 0) return Damaged("no zeros at the end");
  return pixels;
}

absl::Status PackedPixels::Read(std::span<const uint16_t> rows, uint8_t* target) const {
  return Read(HasBmi2(), rows, target);
}

absl::Status PackedPixels::ReadPortably(std::span<const uint16_t> rows, uint8_t* target) const {
  return Read(/*wide=*/false, rows, target);
}

absl::Status PackedPixels::Read(bool wide, std::span<const uint16_t> rows, uint8_t* target) const {
  const size_t num_rows = rows.empty() ? begin_.size() - 1 : rows.size();
  const size_t row_bytes = kColours * layout_.area();
  std::vector<uint8_t>& scratch = Scratch((kRowsAtOnce + 1) * kResidualStride);
  uint8_t* const residuals = scratch.data() + kResidualStride;
  // Where fewer than kRows are left, the last one stands in for those that are missing.
  const auto decode = [&]<size_t kRows>(size_t first, auto decode_rows) {
    const size_t num_left = std::min(kRows, num_rows - first);
    size_t row[kRows];
    uint64_t position[kRows];
    for (size_t r = 0; r < kRows; ++r) {
      const size_t i = first + std::min(r, num_left - 1);
      row[r] = rows.empty() ? i : rows[i];
      position[r] = uint64_t{8} * begin_[row[r]];
    }
    decode_rows(bytes_, tables_, layout_.area(), position, residuals);
    for (size_t r = 0; r < num_left; ++r) {
      if ((position[r] + 7) / 8 != begin_[row[r] + 1]) return Damaged("the codes of patch row ", row[r]);
      FromResiduals(layout_, residuals + r * kResidualStride, scratch.data(),
                    target + (first + r) * row_bytes);
    }
    return absl::OkStatus();
  };
  const auto decode_batch = wide ? DecodeBatchWidely : DecodeBatchPortably;
  size_t first = 0;
  // A whole batch takes less time than two rows one after the other.
  for (; first + 2 <= num_rows; first += kRowsAtOnce)
    AFTERIMAGE_RETURN_IF_ERROR(decode.template operator()<kRowsAtOnce>(first, decode_batch));
  if (first < num_rows)
    AFTERIMAGE_RETURN_IF_ERROR(decode.template operator()<1>(first, DecodeOne));
  return absl::OkStatus();
}

}  // namespace afterimage
