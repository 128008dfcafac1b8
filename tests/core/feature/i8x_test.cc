#include "core/feature/i8x.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "core/feature/half.h"
#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::ElementsAre;
using ::testing::Le;

constexpr size_t kWidth = 100;

// Deviations from none to far beyond the largest step.
I8xChannels Channels(float clip = 5.0f) {
  std::vector<float> mean(kWidth), sigma(kWidth);
  for (size_t c = 0; c < kWidth; ++c) {
    mean[c] = static_cast<float>(c % 17) * 0.37f - 3.0f;
    sigma[c] = c % 5 == 0 ? 0.0f : std::exp2(static_cast<float>(c % 13) - 8.0f);
  }
  return I8xChannels(mean, sigma, clip);
}

std::vector<float> Values(size_t rows, const I8xChannels& channels, float sigmas, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-sigmas, sigmas);
  std::vector<float> values(rows * kWidth);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = i % kWidth;
    values[i] = channels.mean[c] + channels.step[c] * 127.0f / 5.0f * uniform(random);
  }
  return values;
}

std::vector<float> Decoded(const I8xChannels& channels, const CodedPlane& plane) {
  if (plane.is_f16) {
    std::vector<float> values(plane.bytes.size() / 2);
    DecodeHalves(plane.bytes.data(), values);
    return values;
  }
  std::vector<float> values(plane.bytes.size());
  for (size_t at = 0; at < values.size(); at += kWidth) {
    DecodeI8xRow(channels, reinterpret_cast<const int8_t*>(plane.bytes.data()) + at, values.data() + at);
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
void ExpectSound(const I8xChannels& channels, const std::vector<float>& values) {
  const CodedPlane plane = EncodeI8xPlane(channels, values);
  const std::vector<float> decoded = Decoded(channels, plane);
  EXPECT_THAT(LargestError(values, decoded), Le(kI8xLargestError));
  const CodedPlane again = EncodeI8xPlane(channels, decoded);
  EXPECT_EQ(again.is_f16, plane.is_f16);
  EXPECT_EQ(again.bytes, plane.bytes);
  EXPECT_EQ(again.exceptions, plane.exceptions);
}

TEST(I8xTest, StepsAreSigmaTimesTheClipWithinTheirBounds) {
  for (const float clip : {kSmallestI8xClip, 4.375f, 5.0f, kLargestI8xClip}) {
    const I8xChannels channels({0, 0, 0}, {1.0f, 0.0f, 1000.0f}, clip);
    EXPECT_THAT(channels.step, ElementsAre(clip / 127.0f, 0x1p-10f, 0.171875f));
  }
}

TEST(I8xTest, WithinFiveSigmaTheErrorIsHalfAStep) {
  const I8xChannels channels = Channels();
  const std::vector<float> values = Values(50, channels, 4.9f, 1);
  const CodedPlane plane = EncodeI8xPlane(channels, values);
  EXPECT_FALSE(plane.is_f16);
  EXPECT_TRUE(plane.exceptions.empty());
  EXPECT_EQ(plane.bytes.size(), values.size());
  const std::vector<float> decoded = Decoded(channels, plane);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_LE(std::abs(values[i] - decoded[i]), channels.step[i % kWidth] * 0.5f + 1e-5f) << i;
  }
  ExpectSound(channels, values);
}

TEST(I8xTest, WhatDoesNotFitIsKeptExactly) {
  const I8xChannels channels = Channels();
  std::vector<float> values = Values(10, channels, 4.0f, 2);
  values[307] = channels.mean[7] + 30 * channels.step[7] * 127.0f / 5.0f;
  values[912] = -250.125f;
  const CodedPlane plane = EncodeI8xPlane(channels, values);
  EXPECT_THAT(plane.exceptions,
              ElementsAre(PlaneException{307, values[307]}, PlaneException{912, -250.125f}));
  EXPECT_EQ(plane.bytes[307], 0);
  ExpectSound(channels, values);
}

TEST(I8xTest, TooManyExceptionsMakeAPlaneOfHalves) {
  const I8xChannels channels = Channels();
  std::vector<float> values = Values(10, channels, 4.0f, 3);
  for (size_t i = 0; i < 20; ++i) values[i * 37] = 100.0f + static_cast<float>(i) * 0.01f;
  EXPECT_EQ(EncodeI8xPlane(channels, values).exceptions.size(), 20u);  // 2 % of 1000
  ExpectSound(channels, values);
  values[999] = -100.0f;
  const CodedPlane plane = EncodeI8xPlane(channels, values);
  EXPECT_TRUE(plane.is_f16);
  EXPECT_EQ(plane.bytes.size(), 2 * values.size());
  EXPECT_TRUE(plane.exceptions.empty());
  ExpectSound(channels, values);
}

// Values just outside, which f16 rounds to inside: up to 2 % of them are exceptions, and 21 in 1000 are none
// at all. Were that plane stored as f16, the next to encode it would find no exception, and write other
// bytes.
TEST(I8xTest, ExceptionsThatRoundingTakesAwayDoNotFlipThePlane) {
  const float step = 5.0f / 127.0f;
  const float edge = 13.001f;
  const I8xChannels channels(std::vector<float>(kWidth, edge - 127.5f * step),
                             std::vector<float>(kWidth, 1.0f), 5.0f);
  const float outside = edge + 1e-4f;
  ASSERT_EQ(HalfToFloat(FloatToHalf(outside)), 13.0f);
  std::vector<float> values(10 * kWidth, 12.0f);
  for (size_t i = 0; i < 20; ++i) values[i * 40] = outside;
  EXPECT_EQ(EncodeI8xPlane(channels, values).exceptions.size(), 20u);
  ExpectSound(channels, values);
  values[999] = outside;
  const CodedPlane plane = EncodeI8xPlane(channels, values);
  EXPECT_FALSE(plane.is_f16);
  EXPECT_TRUE(plane.exceptions.empty());
  ExpectSound(channels, values);
}

TEST(I8xTest, EveryClipKeepsTheBoundAndTheBytes) {
  for (const float clip : {kSmallestI8xClip, 4.0f, 4.375f, kLargestI8xClip}) {
    const I8xChannels channels = Channels(clip);
    for (uint32_t seed = 0; seed < 20; ++seed)
      ExpectSound(channels, Values(10, channels, 4.9f + 0.02f * static_cast<float>(seed), seed));
  }
}

TEST(I8xTest, HostilePlanesKeepTheBoundAndTheirBytes) {
  const I8xChannels channels = Channels();
  ExpectSound(channels, std::vector<float>(kWidth * 3, 0.0f));    // all-zero tokens
  ExpectSound(channels, std::vector<float>(kWidth * 3, 256.0f));  // as large as can be
  ExpectSound(channels, std::vector<float>(kWidth * 3, -256.0f));
  std::vector<float> constant = Values(60, channels, 3.0f, 4);
  for (size_t row = 0; row < 60; ++row) constant[row * kWidth + 5] = channels.mean[5];
  ExpectSound(channels, constant);
  for (uint32_t seed = 0; seed < 200; ++seed) {  // around the limit of 2 %, and far beyond it
    ExpectSound(channels, Values(10, channels, 5.0f + 0.01f * static_cast<float>(seed % 40), seed));
    std::vector<float> spiked = Values(10, channels, 4.0f, seed);
    for (uint32_t i = 0; i < seed % 30; ++i) spiked[(i * 97 + seed) % spiked.size()] *= 30.0f;
    for (float& value : spiked) value = std::clamp(value, -256.0f, 256.0f);
    ExpectSound(channels, spiked);
  }
  // Means as large as they may be: the sum of mean and steps rounds most coarsely here.
  const I8xChannels extreme(std::vector<float>(kWidth, -234.0f), std::vector<float>(kWidth, 0.0f), 5.0f);
  ExpectSound(extreme, Values(40, extreme, 4.9f, 9));
}

TEST(I8xTest, BothWaysGiveTheSameBits) {
  if (!internal::HasWideI8x()) GTEST_SKIP() << "this processor has one way only";
  const I8xChannels channels = Channels();
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::vector<float> values = Values(1, channels, seed % 2 == 0 ? 4.5f : 9.0f, seed);
    for (size_t c = seed % 7; c < kWidth; c += 7) {  // the middle between two steps, and the last that fits
      const float steps[] = {0.5f, 1.5f, -2.5f, 127.5f, -127.5f, 127.49f, NAN, INFINITY};
      values[c] = channels.mean[c] + channels.step[c] * steps[c % 8];
    }
    std::vector<int8_t> portable(kWidth), wide(kWidth);
    EXPECT_EQ(internal::EncodeI8xRowPortably(channels, values.data(), portable.data()),
              internal::EncodeI8xRowWidely(channels, values.data(), wide.data()));
    EXPECT_EQ(portable, wide);
    std::vector<float> a(kWidth), b(kWidth);
    internal::DecodeI8xRowPortably(channels, portable.data(), a.data());
    internal::DecodeI8xRowWidely(channels, portable.data(), b.data());
    for (size_t c = 0; c < kWidth; ++c)
      EXPECT_EQ(std::bit_cast<uint32_t>(a[c]), std::bit_cast<uint32_t>(b[c]));
  }
}

}  // namespace
}  // namespace afterimage
