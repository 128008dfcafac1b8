#include "core/feature/packed_codes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <random>
#include <utility>
#include <vector>

#include "core/feature/half.h"
#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::Le;

constexpr size_t kWidth = 100;

// `count` channels of `width`, spread over them.
std::vector<uint16_t> Spread(size_t count, size_t width) {
  std::vector<uint16_t> channels;
  for (size_t i = 0; i < count; ++i)
    channels.push_back(static_cast<uint16_t>((2 * i + 1) * width / (2 * count)));
  return channels;
}

// Deviations from none to far beyond the largest scale.
PackedChannels Channels(size_t width, std::vector<uint16_t> wide) {
  std::vector<float> mean(width), sigma(width);
  for (size_t c = 0; c < width; ++c) {
    mean[c] = static_cast<float>(c % 17) * 0.37f - 3.0f;
    sigma[c] = c % 5 == 0 ? 0.0f : std::exp2(static_cast<float>(c % 11) - 9.0f);
  }
  return PackedChannels(mean, sigma, std::move(wide));
}
PackedChannels Channels(size_t width = kWidth) { return Channels(width, Spread((width + 5) / 6, width)); }

std::vector<float> Normal(size_t rows, const PackedChannels& channels, float factor, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * channels.width());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = i % channels.width();
    values[i] = std::clamp(channels.steps(4).mean[c] + factor * channels.scale()[c] * normal(random), -256.0f,
                           256.0f);
  }
  return values;
}

std::vector<float> Decoded(const PackedChannels& channels, int bits, const CodedPlane& plane) {
  std::vector<float> values;
  if (plane.is_f16) {
    values.resize(plane.bytes.size() / 2);
    DecodeHalves(plane.bytes.data(), values);
    return values;
  }
  const size_t row_bytes = channels.RowBytes(bits);
  values.resize(plane.bytes.size() / row_bytes * channels.width());
  for (size_t row = 0; row * row_bytes < plane.bytes.size(); ++row) {
    DecodePackedRow(channels, bits, plane.bytes.data() + row * row_bytes,
                    values.data() + row * channels.width());
  }
  for (const PlaneException& exception : plane.exceptions) values[exception.position] = exception.value;
  return values;
}

float LargestError(const std::vector<float>& a, const std::vector<float>& b) {
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// The bound, and that the bytes come out again.
void ExpectSound(const PackedChannels& channels, const std::vector<float>& values) {
  for (const int bits : {4, 5, 6}) {
    const CodedPlane plane = EncodePackedPlane(channels, bits, values);
    const std::vector<float> decoded = Decoded(channels, bits, plane);
    EXPECT_THAT(LargestError(values, decoded), Le(kPackedLargestError)) << bits << " bits";
    const CodedPlane again = EncodePackedPlane(channels, bits, decoded);
    EXPECT_EQ(again.is_f16, plane.is_f16);
    EXPECT_EQ(again.bytes, plane.bytes) << bits << " bits";
    EXPECT_EQ(again.exceptions, plane.exceptions);
  }
}

// Wide channels have 127 steps to either side, and are met within half of one; the others are not.
TEST(PackedCodesTest, WideChannelsHaveWholeBytes) {
  const size_t width = 24;
  const std::vector<uint16_t> wide = {1, 4, 5, 8, 11, 13, 20};
  const std::vector<float> sigma(width, 1.0f);
  const PackedChannels channels(std::vector<float>(width, 0.125f), sigma, wide);
  EXPECT_EQ(channels.wide(), wide);
  const std::vector<float> values = Normal(200, channels, 0.9f, 1);
  for (const int bits : {4, 5, 6}) {
    const std::vector<float> decoded = Decoded(channels, bits, EncodePackedPlane(channels, bits, values));
    std::vector<float> largest(width, 0.0f);
    for (size_t i = 0; i < values.size(); ++i)
      largest[i % width] = std::max(largest[i % width], std::abs(values[i] - decoded[i]));
    for (size_t c = 0; c < width; ++c) {
      const bool is_wide = std::ranges::find(wide, c) != wide.end();
      EXPECT_EQ(largest[c] <= 0.5f * 5.0f / 127.0f + 1e-6f, is_wide) << bits << " bits, channel " << c;
    }
  }
}

TEST(PackedCodesTest, RowsTakeTheBytesThatTheHeaderSays) {
  EXPECT_EQ(PackedRowBytes(4, 768, 42), 384u + 21);
  EXPECT_EQ(PackedRowBytes(5, 768, 42), 384u + 96 + 21);
  EXPECT_EQ(PackedRowBytes(6, 768, 42), 384u + 192 + 21);
  EXPECT_EQ(PackedRowBytes(4, 3, 0), 2u);
  EXPECT_EQ(PackedRowBytes(4, 3, 1), 2u + 1);
  EXPECT_EQ(PackedRowBytes(5, 9, 9), 5u + 2 + 5);
  EXPECT_EQ(PackedRowBytes(6, 9, 8), 5u + 3 + 4);
}

// Where each bit lies: the lower half of q where the code would be, the upper halves two in a byte.
TEST(PackedCodesTest, TheHalvesOfWideBytesLieWhereTheHeaderSays) {
  const PackedChannels channels(std::vector<float>(3, 0.0f), std::vector<float>(3, 1.0f), {0, 1, 2});
  const float step = channels.steps(4).step[0];
  const std::vector<float> values = {-127 * step, 0x12 * step, -1 * step};  // 0x81, 0x12, 0xff
  const CodedPlane plane = EncodePackedPlane(channels, 4, values);
  EXPECT_THAT(plane.bytes, ElementsAre(0x1 | 0xf << 4, 0x2, 0x8 | 0x1 << 4, 0xf));
  EXPECT_THAT(Decoded(channels, 4, plane), ElementsAre(values[0], values[1], values[2]));
}

// The best quantiser of single values of a normal distribution has 0.0975, 0.0500 and 0.0254 of its deviation
// (Max, table I, and the same equations for 64 levels). With the path through the trellis it is five sixths
// of it.
TEST(PackedCodesTest, OfNormalValuesTheErrorIsBelowThatOfLloydAndMax) {
  const size_t width = 64;
  std::vector<float> sigma(width, 0.25f);  // so that there are no exceptions
  std::vector<uint16_t> wide;
  for (uint16_t c = 0; c < 16; ++c) {
    sigma[c] = 1.0f;
    wide.push_back(c);
  }
  const PackedChannels channels(std::vector<float>(width, 0.25f), sigma, wide);
  const std::vector<float> values = Normal(4000, channels, 1.0f, 1);
  for (const auto& [bits, rmse] : {std::pair(4, 0.0801), std::pair(5, 0.0419), std::pair(6, 0.0219)}) {
    const std::vector<float> decoded = Decoded(channels, bits, EncodePackedPlane(channels, bits, values));
    double squares = 0;
    size_t count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i % width < wide.size()) continue;
      squares += std::pow((values[i] - decoded[i]) / 0.25, 2);
      ++count;
    }
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(count)), rmse, 0.02 * rmse) << bits << " bits";
  }
}

TEST(PackedCodesTest, WhatIsNotMetWellIsKeptExactly) {
  const PackedChannels channels = Channels();
  std::vector<float> values = Normal(10, channels, 0.1f, 2);
  values[307] = channels.steps(4).mean[7] + 30;
  values[912] = -250.125f;
  for (const int bits : {4, 5, 6}) {
    const CodedPlane plane = EncodePackedPlane(channels, bits, values);
    EXPECT_THAT(plane.exceptions,
                ElementsAre(PlaneException{307, values[307]}, PlaneException{912, -250.125f}));
  }
  ExpectSound(channels, values);
}

TEST(PackedCodesTest, TooManyExceptionsMakeAPlaneOfHalves) {
  const PackedChannels channels = Channels();
  std::vector<float> values = Normal(10, channels, 0.1f, 3);
  for (size_t i = 0; i < 20; ++i) values[i * 37] = 100.0f + static_cast<float>(i) * 0.01f;
  EXPECT_EQ(EncodePackedPlane(channels, 4, values).exceptions.size(), 20u);  // 2 % of 1000
  ExpectSound(channels, values);
  values[999] = -100.0f;
  const CodedPlane plane = EncodePackedPlane(channels, 4, values);
  EXPECT_TRUE(plane.is_f16);
  EXPECT_EQ(plane.bytes.size(), 2 * values.size());
  ExpectSound(channels, values);
}

// Widths, and how many channels are wide: none, odd numbers, all.
constexpr std::pair<size_t, size_t> kShapes[] = {{1, 0},  {1, 1},    {2, 1},   {2, 2},    {3, 0},
                                                 {3, 3},  {8, 4},    {16, 16}, {17, 2},   {17, 17},
                                                 {31, 5}, {100, 16}, {129, 7}, {129, 129}};

TEST(PackedCodesTest, HostilePlanesKeepTheBoundAndTheirBytes) {
  for (const auto& [width, num_wide] : kShapes) {
    const PackedChannels channels = Channels(width, Spread(num_wide, width));
    ExpectSound(channels, std::vector<float>(width * 3, 0.0f));
    ExpectSound(channels, std::vector<float>(width * 3, 256.0f));
    ExpectSound(channels, std::vector<float>(width * 3, -256.0f));
    for (uint32_t seed = 0; seed < 60; ++seed) {
      ExpectSound(channels, Normal(7, channels, 0.2f * static_cast<float>(seed % 12), seed));
      std::vector<float> spiked = Normal(7, channels, 0.5f, seed);
      for (uint32_t i = 0; i < seed % 15; ++i) spiked[(i * 97 + seed) % spiked.size()] *= 30.0f;
      for (float& value : spiked) value = std::clamp(value, -256.0f, 256.0f);
      ExpectSound(channels, spiked);
    }
  }
  // Means as large as they may be: the sum of mean and level rounds most coarsely here.
  const PackedChannels extreme(std::vector<float>(kWidth, -234.0f), std::vector<float>(kWidth, 0.0f),
                               Spread(17, kWidth));
  ExpectSound(extreme, Normal(40, extreme, 1.0f, 9));
}

// Exceptions say nothing of their codes, and from where codes are far apart other paths lead past them.
TEST(PackedCodesTest, RowsThatWereDecodedKeepTheirBytesAmongOthers) {
  constexpr size_t kFull = 768, kRows = 48;
  std::vector<float> sigma(kFull);
  for (size_t c = 0; c < kFull; ++c) sigma[c] = 0.2f + 0.02f * static_cast<float>(c % 71);
  const PackedChannels channels(std::vector<float>(kFull, 0.25f), sigma, Spread(42, kFull));
  for (const int bits : {4, 5, 6}) {
    const size_t row_bytes = channels.RowBytes(bits);
    const auto encode = [&](const std::vector<float>& values, std::vector<float>& decoded) {
      std::vector<uint8_t> rows(kRows * row_bytes);
      std::vector<size_t> exceptions(kRows);
      decoded.resize(values.size());
      EncodePackedRows(channels, bits, values.data(), kRows, rows.data(), decoded.data(), exceptions.data());
      return rows;
    };
    for (const float factor : {0.9f, 1.5f, 2.5f}) {
      const std::vector<float> values = Normal(kRows, channels, factor, static_cast<uint32_t>(factor * 10));
      std::vector<float> decoded, unused;
      const std::vector<uint8_t> rows = encode(values, decoded);
      // Of every second row what was decoded, beside the others as they were.
      std::vector<float> mixed = values;
      for (size_t i = 0; i < mixed.size(); ++i)
        if (i / kFull % 2 == 0 && !IsPackedException(values[i], decoded[i])) mixed[i] = decoded[i];
      EXPECT_EQ(encode(mixed, unused), rows) << bits << " bits, " << factor;
    }
  }
}

TEST(PackedCodesTest, BothWaysGiveTheSameBits) {
  if (!internal::HasWidePacked()) GTEST_SKIP() << "this processor has one way only";
  std::mt19937 random(7);
  std::vector<std::pair<size_t, size_t>> shapes(std::begin(kShapes), std::end(kShapes));
  for (const size_t num_wide : {0u, 41u, 42u, 768u}) shapes.emplace_back(768, num_wide);
  for (const auto& [width, num_wide] : shapes) {
    const PackedChannels channels = Channels(width, Spread(num_wide, width));
    for (const int bits : {4, 5, 6}) {
      const size_t row_bytes = channels.RowBytes(bits);
      // Normal rows, between them some that were decoded.
      std::vector<float> values = Normal(23, channels, 1.0f, static_cast<uint32_t>(width));
      for (size_t row = 0; row < 23; row += 3) {
        std::vector<uint8_t> bytes(row_bytes);
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
        std::vector<int8_t> q(width + 32), other(width + 32);
        internal::UnpackRowPortably(channels, bits, bytes.data(), q.data());
        internal::UnpackRowWidely(channels, bits, bytes.data(), other.data());
        q.resize(width);
        other.resize(width);
        EXPECT_EQ(q, other) << width << " " << bits;
        DecodePackedRow(channels, bits, bytes.data(), values.data() + row * width);
      }
      for (const size_t count : {1u, 2u, 5u, 23u}) {
        std::vector<uint8_t> portable(count * row_bytes), wide(portable.size());
        std::vector<float> decoded(count * width), decoded_widely(decoded.size());
        std::vector<size_t> exceptions(count), exceptions_widely(count);
        internal::EncodePackedRowsPortably(channels, bits, values.data(), count, portable.data(),
                                           decoded.data(), exceptions.data());
        internal::EncodePackedRowsWidely(channels, bits, values.data(), count, wide.data(),
                                         decoded_widely.data(), exceptions_widely.data());
        EXPECT_EQ(portable, wide) << width << " " << bits;
        EXPECT_EQ(decoded, decoded_widely);
        EXPECT_EQ(exceptions, exceptions_widely);
      }
    }
  }
}

// All paths of five channels, one of them wide, tried one by one.
TEST(PackedCodesTest, ThePathIsTheBestThereIs) {
  constexpr size_t kFew = 5, kRows = 20;
  const std::vector<float> sigma = {0.4f, 1.0f, 0.7f, 0.25f, 0.9f};
  const PackedChannels channels(std::vector<float>(kFew, -0.5f), sigma, {2});
  const std::vector<float> values = Normal(kRows, channels, 1.0f, 11);
  std::vector<uint8_t> rows(kRows * channels.RowBytes(4));
  std::vector<float> decoded(values.size());
  std::vector<size_t> exceptions(kRows);
  EncodePackedRows(channels, 4, values.data(), kRows, rows.data(), decoded.data(), exceptions.data());
  const auto error_of = [&](const float* row, const float* came_back) {
    double squares = 0;
    for (size_t c = 0; c < kFew; ++c) squares += std::pow(row[c] - came_back[c], 2);
    return squares;
  };
  std::vector<double> best(kRows, 1e9);
  for (uint32_t path = 0; path < 1u << 16; ++path) {  // codes of the four channels that are not wide
    for (size_t row = 0; row < kRows; ++row) {
      // A byte has channels i and i + 3: that of channel 2 has no other half.
      uint8_t tried[] = {static_cast<uint8_t>(path), static_cast<uint8_t>(path >> 8),
                         rows[row * channels.RowBytes(4) + 2], rows[row * channels.RowBytes(4) + 3]};
      float came_back[kFew];
      DecodePackedRow(channels, 4, tried, came_back);
      best[row] = std::min(best[row], error_of(values.data() + row * kFew, came_back));
    }
  }
  // Candidates are found by the nearest integer, so that of two that are as far off one may be taken for the
  // other.
  double all = 0, all_best = 0;
  for (size_t row = 0; row < kRows; ++row) {
    const double ours = error_of(values.data() + row * kFew, decoded.data() + row * kFew);
    EXPECT_LE(ours, best[row] * 1.08) << "row " << row;
    all += ours;
    all_best += best[row];
  }
  EXPECT_LE(all, all_best * 1.01);
}

}  // namespace
}  // namespace afterimage
