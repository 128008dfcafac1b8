#include "core/feature/huffman.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

// A byte's count, or two of these together.
struct Package {
  uint64_t weight = 0;
  int symbol = 0;               // of a single byte
  int first = -1, second = -1;  // else its two parts, positions in the list of the round before
};

// The number of bytes that occur, and the only one if it is one.
size_t NumUsed(const CodeLengths& lengths) {
  return kSymbols - static_cast<size_t>(std::ranges::count(lengths, 0));
}

// Calls `use(symbol, length, bits)` for all that occur, in the order of their codes.
template <typename Use>
void ForEachCode(const CodeLengths& lengths, const Use& use) {
  std::array<uint8_t, kSymbols> ordered;  // by length, then by number
  std::array<size_t, kMaxCodeBits + 2> begin = {};
  for (const uint8_t length : lengths) ++begin[length + size_t{1}];
  begin[1] = 0;  // those that do not occur
  for (size_t length = 1; length < begin.size(); ++length) begin[length] += begin[length - 1];
  std::array<size_t, kMaxCodeBits + 2> next = begin;
  for (size_t symbol = 0; symbol < kSymbols; ++symbol) {
    if (lengths[symbol] > 0) ordered[next[lengths[symbol]]++] = static_cast<uint8_t>(symbol);
  }
  uint32_t bits = 0;  // of the next code, the first one lowest
  for (int length = 1; length <= kMaxCodeBits; ++length) {
    for (size_t i = begin[static_cast<size_t>(length)]; i < next[static_cast<size_t>(length)]; ++i) {
      use(size_t{ordered[i]}, length, bits);
      // Adds one at the last bit of the code, the highest.
      uint32_t bit = 1u << (length - 1);
      for (; (bits & bit) != 0; bit >>= 1) bits ^= bit;
      bits |= bit;
    }
  }
}

}  // namespace

CodeLengths HuffmanLengths(const SymbolCounts& counts) {
  std::vector<Package> singles;
  for (size_t symbol = 0; symbol < kSymbols; ++symbol) {
    if (counts[symbol] > 0) singles.push_back({counts[symbol], static_cast<int>(symbol)});
  }
  std::ranges::stable_sort(singles, {}, &Package::weight);
  CodeLengths lengths = {};
  if (singles.size() < 2) {
    for (const Package& single : singles) lengths[static_cast<size_t>(single.symbol)] = 1;
    return lengths;
  }
  // Round by round: pairs of the lightest of the round before, among the single bytes.
  std::array<std::vector<Package>, kMaxCodeBits> rounds;
  rounds[0] = singles;
  for (size_t round = 1; round < rounds.size(); ++round) {
    const std::vector<Package>& before = rounds[round - 1];
    std::vector<Package> pairs;
    for (size_t i = 0; i + 1 < before.size(); i += 2) {
      pairs.push_back(
          {before[i].weight + before[i + 1].weight, 0, static_cast<int>(i), static_cast<int>(i + 1)});
    }
    rounds[round].resize(singles.size() + pairs.size());
    std::ranges::merge(singles, pairs, rounds[round].begin(), {}, &Package::weight, &Package::weight);
  }
  // The lightest 2 n - 2 of the last round are taken; a byte's length is how often it is in them. Those taken
  // of a round are always its first ones.
  size_t taken = 2 * singles.size() - 2;
  for (size_t round = rounds.size(); round-- > 0;) {
    size_t taken_before = 0;
    for (size_t i = 0; i < taken; ++i) {
      const Package& package = rounds[round][i];
      if (package.first < 0) {
        ++lengths[static_cast<size_t>(package.symbol)];
      } else {
        taken_before = static_cast<size_t>(package.second) + 1;
      }
    }
    taken = taken_before;
  }
  return lengths;
}

std::array<HuffmanCode, kSymbols> HuffmanCodes(const CodeLengths& lengths) {
  std::array<HuffmanCode, kSymbols> codes = {};
  if (NumUsed(lengths) < 2) return codes;
  ForEachCode(lengths, [&](size_t symbol, int length, uint32_t bits) {
    codes[symbol] = {static_cast<uint16_t>(bits), static_cast<uint8_t>(length)};
  });
  return codes;
}

absl::Status BuildHuffmanTable(const CodeLengths& lengths, HuffmanTable& table) {
  uint32_t covered = 0;
  for (const uint8_t length : lengths) {
    if (length > kMaxCodeBits) return absl::DataLossError(absl::StrCat("a code of ", length, " bits"));
    if (length > 0) covered += 1u << (kMaxCodeBits - length);
  }
  if (NumUsed(lengths) == 1 && covered == table.size() / 2) {
    const auto symbol = std::ranges::max_element(lengths) - lengths.begin();
    table.fill(static_cast<uint16_t>(symbol << 8));
    return absl::OkStatus();
  }
  if (covered != table.size()) return absl::DataLossError("codes that are not complete");
  // The table of the first so many bits, doubled from length to length.
  size_t filled = 1;
  const auto double_to = [&](size_t size) {
    for (; filled < size; filled *= 2)
      std::copy_n(table.begin(), filled, table.begin() + static_cast<std::ptrdiff_t>(filled));
  };
  ForEachCode(lengths, [&](size_t symbol, int length, uint32_t bits) {
    double_to(size_t{1} << length);
    table[bits] = static_cast<uint16_t>(symbol << 8 | static_cast<size_t>(length));
  });
  double_to(table.size());
  return absl::OkStatus();
}

}  // namespace afterimage
