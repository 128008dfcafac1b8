// Canonical Huffman codes of single bytes, one code for many short streams: what packed pixels are made of.
// (Whole planes of features go through Zstandard, entropy.h; its frames are too large for a patch.) Private
// to core/feature.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"

namespace afterimage {

inline constexpr size_t kSymbols = 256;
inline constexpr int kMaxCodeBits = 11;  // five of them fit into the 57 bits that a load always gives

// How often each byte occurs.
using SymbolCounts = std::array<uint32_t, kSymbols>;
// Bits of each byte's code; 0: the byte does not occur. The codes follow from the lengths as in RFC 1951,
// section 3.2.2. Where a single byte occurs its length is 1, and its code takes no bits at all.
using CodeLengths = std::array<uint8_t, kSymbols>;

// The lengths of the fewest bits in all of which none exceeds kMaxCodeBits (package-merge: Larmore and
// Hirschberg, J. ACM 37, 1990). At least one count is not 0.
CodeLengths HuffmanLengths(const SymbolCounts& counts);

// Each code, its first bit lowest.
struct HuffmanCode {
  uint16_t bits = 0;
  uint8_t length = 0;
};
std::array<HuffmanCode, kSymbols> HuffmanCodes(const CodeLengths& lengths);

// What the next kMaxCodeBits bits of a stream begin with, the first one lowest: length of the code in the
// lower byte, symbol in the upper one.
using HuffmanTable = std::array<uint16_t, size_t{1} << kMaxCodeBits>;
// DataLoss: lengths beyond kMaxCodeBits, or not those of a complete code.
absl::Status BuildHuffmanTable(const CodeLengths& lengths, HuffmanTable& table);

}  // namespace afterimage
