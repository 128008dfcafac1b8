#include "core/feature/huffman.h"

#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

SymbolCounts Counts(std::initializer_list<uint32_t> counts) {
  SymbolCounts all = {};
  std::copy(counts.begin(), counts.end(), all.begin());
  return all;
}

TEST(HuffmanTest, LengthsAreThoseOfTheFewestBits) {
  const CodeLengths lengths = HuffmanLengths(Counts({45, 13, 12, 16, 9, 5}));  // Cormen et al., figure 16.3
  EXPECT_EQ(std::vector<int>(lengths.begin(), lengths.begin() + 7), (std::vector<int>{1, 3, 3, 3, 4, 4, 0}));
}

TEST(HuffmanTest, NoCodeIsLongerThanTheLimitAndTheCodesAreComplete) {
  SymbolCounts counts = {};
  uint32_t fibonacci[2] = {1, 1};  // whose free codes would be as long as there are symbols
  for (size_t i = 0; i < 30; ++i) {
    counts[i] = fibonacci[0];
    fibonacci[0] = std::exchange(fibonacci[1], fibonacci[0] + fibonacci[1]);
  }
  HuffmanTable table;
  for (const SymbolCounts& some : {counts, [] {
                                     SymbolCounts all;
                                     all.fill(1);
                                     return all;
                                   }()}) {
    const CodeLengths lengths = HuffmanLengths(some);
    EXPECT_LE(*std::ranges::max_element(lengths), kMaxCodeBits);
    AFTERIMAGE_EXPECT_OK(BuildHuffmanTable(lengths, table));
  }
}

// RFC 1951, section 3.2.2: lengths 3, 3, 3, 3, 3, 2, 4, 4 give 010, 011, 100, 101, 110, 00, 1110, 1111.
TEST(HuffmanTest, CodesAreThoseOfTheStandardFirstBitLowest) {
  CodeLengths lengths = {3, 3, 3, 3, 3, 2, 4, 4};
  const std::array<HuffmanCode, kSymbols> codes = HuffmanCodes(lengths);
  const uint16_t expected[] = {0b010, 0b110, 0b001, 0b101, 0b011, 0b00, 0b0111, 0b1111};
  HuffmanTable table;
  AFTERIMAGE_ASSERT_OK(BuildHuffmanTable(lengths, table));
  for (size_t symbol = 0; symbol < 8; ++symbol) {
    EXPECT_EQ(codes[symbol].bits, expected[symbol]) << symbol;
    EXPECT_EQ(codes[symbol].length, lengths[symbol]) << symbol;
    const size_t rest = 0b1010101 << lengths[symbol] & (table.size() - 1);  // whatever follows
    EXPECT_EQ(table[rest | expected[symbol]], symbol << 8 | lengths[symbol]) << symbol;
  }
}

TEST(HuffmanTest, CodesFollowEachOtherByLengthThenByNumberAndTheTableHasThem) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 50; ++trial) {
    SymbolCounts counts = {};
    const uint32_t num_used = 2 + random() % 255;
    for (uint32_t i = 0; i < num_used; ++i) counts[random() % kSymbols] = 1 + (random() >> random() % 32);
    counts[0] = counts[255] = 1;
    const CodeLengths lengths = HuffmanLengths(counts);
    const std::array<HuffmanCode, kSymbols> codes = HuffmanCodes(lengths);
    HuffmanTable table;
    AFTERIMAGE_ASSERT_OK(BuildHuffmanTable(lengths, table));
    uint32_t next = 0;  // as RFC 1951 counts, of kMaxCodeBits bits
    for (int length = 1; length <= kMaxCodeBits; ++length) {
      for (size_t symbol = 0; symbol < kSymbols; ++symbol) {
        if (lengths[symbol] != length) continue;
        uint32_t bits = 0;
        for (int bit = 0; bit < kMaxCodeBits; ++bit) bits |= (next >> (kMaxCodeBits - 1 - bit) & 1) << bit;
        ASSERT_EQ(codes[symbol].bits, bits) << symbol;
        ASSERT_EQ(codes[symbol].length, length) << symbol;
        for (size_t at = bits; at < table.size(); at += size_t{1} << length)
          ASSERT_EQ(table[at], symbol << 8 | static_cast<size_t>(length)) << symbol;
        next += 1u << (kMaxCodeBits - length);
      }
    }
    EXPECT_EQ(next, table.size());
  }
}

TEST(HuffmanTest, ASingleByteTakesNoBits) {
  CodeLengths lengths = HuffmanLengths(Counts({0, 0, 77}));
  EXPECT_EQ(lengths[2], 1);
  EXPECT_EQ(HuffmanCodes(lengths)[2].length, 0);
  HuffmanTable table;
  AFTERIMAGE_ASSERT_OK(BuildHuffmanTable(lengths, table));
  EXPECT_EQ(table[0], 2 << 8);
  EXPECT_EQ(table.back(), 2 << 8);
}

TEST(HuffmanTest, LengthsThatAreNoCodeAreRefused) {
  HuffmanTable table;
  for (const CodeLengths& lengths : {CodeLengths{}, CodeLengths{2}, CodeLengths{1, 2}, CodeLengths{1, 1, 1},
                                     CodeLengths{1, 2, 3, 3, 11}}) {
    EXPECT_THAT(BuildHuffmanTable(lengths, table),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("complete")));
  }
  EXPECT_THAT(BuildHuffmanTable(CodeLengths{1, 12}, table),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("12 bits")));
}

}  // namespace
}  // namespace afterimage
