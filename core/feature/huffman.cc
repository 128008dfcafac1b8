#include "core/feature/huffman.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

// A byte's count, or two of these together.
struct Package {
  uint64_t weight = 0;
  int symbol = 0;               // of a single byte
  int first = -1, second = -1;  // else its two parts, positions in the list of the round before
};

// How often each length occurs. Neighbours have equal lengths more often than not, and would wait for each
// other's count: so each quarter of the symbols has its own.
constexpr size_t kQuarters = 4;
constexpr size_t kOfQuarter = kSymbols / kQuarters;
struct LengthCounts {
  std::array<std::array<uint16_t, kMaxCodeBits + 1>, kQuarters> of_quarter = {};

  size_t Of(size_t length) const {
    size_t count = 0;
    for (const auto& counts : of_quarter) count += counts[length];
    return count;
  }
  size_t NumUsed() const { return kSymbols - Of(0); }
};

// Of lengths of at most kMaxCodeBits.
LengthCounts CountLengths(const CodeLengths& lengths) {
  LengthCounts counts;
  for (size_t i = 0; i < kOfQuarter; ++i) {
    for (size_t quarter = 0; quarter < kQuarters; ++quarter)
      ++counts.of_quarter[quarter][lengths[quarter * kOfQuarter + i]];
  }
  return counts;
}

// The kMaxCodeBits bits of each number in the other order.
constexpr auto kReversed = [] {
  std::array<uint16_t, size_t{1} << kMaxCodeBits> reversed = {};
  for (size_t i = 1; i < reversed.size(); ++i)
    reversed[i] = static_cast<uint16_t>(reversed[i / 2] / 2 | i % 2 << (kMaxCodeBits - 1));
  return reversed;
}();

// Calls `use(symbol, length, bits)` for all that occur, in the order of their codes: by length, then by
// number. The lengths are those of a code.
template <typename Use>
void ForEachCode(const CodeLengths& lengths, const LengthCounts& counts, const Use& use) {
  std::array<uint16_t, kMaxCodeBits + 2> begin;  // of each length in `ordered`, first those that do not occur
  auto next = counts.of_quarter;
  uint16_t end = 0;
  for (size_t length = 0; length <= kMaxCodeBits; ++length) {
    begin[length] = end;
    for (auto& of_quarter : next) end = static_cast<uint16_t>(end + std::exchange(of_quarter[length], end));
  }
  begin[kMaxCodeBits + 1] = end;
  std::array<uint8_t, kSymbols> ordered;
  for (size_t i = 0; i < kOfQuarter; ++i) {
    for (size_t quarter = 0; quarter < kQuarters; ++quarter) {
      const size_t symbol = quarter * kOfQuarter + i;
      ordered[next[quarter][lengths[symbol]]++] = static_cast<uint8_t>(symbol);
    }
  }
  uint32_t code = 0;  // the next one, its first bit the highest of kMaxCodeBits
  for (size_t length = 1; length <= kMaxCodeBits; ++length) {
    for (size_t i = begin[length]; i < begin[length + 1]; ++i) {
      use(size_t{ordered[i]}, static_cast<int>(length), uint32_t{kReversed[code]});
      code += 1u << (kMaxCodeBits - length);
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
  const LengthCounts counts = CountLengths(lengths);
  if (counts.NumUsed() < 2) return codes;
  ForEachCode(lengths, counts, [&](size_t symbol, int length, uint32_t bits) {
    codes[symbol] = {static_cast<uint16_t>(bits), static_cast<uint8_t>(length)};
  });
  return codes;
}

absl::Status BuildHuffmanTable(const CodeLengths& lengths, HuffmanTable& table) {
  uint8_t longest = 0;
  for (const uint8_t length : lengths) longest = std::max(longest, length);
  if (longest > kMaxCodeBits) return absl::DataLossError(absl::StrCat("a code of ", longest, " bits"));
  const LengthCounts counts = CountLengths(lengths);
  size_t covered = 0;
  for (size_t length = 1; length <= kMaxCodeBits; ++length)
    covered += counts.Of(length) << (kMaxCodeBits - length);
  if (counts.NumUsed() == 1 && covered == table.size() / 2) {
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
  ForEachCode(lengths, counts, [&](size_t symbol, int length, uint32_t bits) {
    double_to(size_t{1} << length);
    table[bits] = static_cast<uint16_t>(symbol << 8 | static_cast<size_t>(length));
  });
  double_to(table.size());
  return absl::OkStatus();
}

}  // namespace afterimage
