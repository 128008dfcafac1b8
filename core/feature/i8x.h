// The arithmetic of the codec i8x: one byte a value, and a list of what does not fit into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/feature/coded_plane.h"

namespace afterimage {

// Each channel has a mean and a step, from the profile:
//   step  = sigma * clip / 127, held within [kI8xSmallestStep, kI8xLargestStep]
//   q     = (value - mean) * (1 / step), to the nearest integer, ties to even
//   value = q * step + mean
// in float32, each operation rounded by itself (no fused multiply-add), so that every machine has the same
// bits. The clip is the profile's (of each level), between kSmallestI8xClip and kLargestI8xClip. A value
// whose q is beyond -127..127 is an exception: kept as it is, with q = 0 in its place.
//
// The largest error is kI8xLargestError: half the largest step, plus a rounding to f16 where many exceptions
// led to one (docs/feature_block_format.md). The smallest step is so wide that q comes out again of a value
// that was decoded: encoding what was decoded gives the same bytes. Means are within kLargestMean
// (core/feature/profile.h), and a decoded value within 127 steps of its mean: below kLargestFeature, like
// every other.
inline constexpr float kSmallestI8xClip = 1.0f;
inline constexpr float kLargestI8xClip = 16.0f;
inline constexpr float kI8xSmallestStep = 0x1p-10f;
inline constexpr float kI8xLargestStep = 0.171875f;  // 11/64
inline constexpr float kI8xLargestError = 0.15f;     // >= 11/128 + 1/16: of a value below 256, as f16

// Of one level, indexed by channel.
struct I8xChannels {
  std::vector<float> mean;
  std::vector<float> step;
  std::vector<float> inverse_step;

  I8xChannels() = default;
  I8xChannels(const std::vector<float>& mean, const std::vector<float>& sigma, float clip);
  // Steps of another codec with the same arithmetic, at least kI8xSmallestStep.
  static I8xChannels WithSteps(const std::vector<float>& mean, std::vector<float> step);
};

// `values`: rows of the channels' width, all within kLargestFeature.
CodedPlane EncodeI8xPlane(const I8xChannels& channels, std::span<const float> values);
// One row, without its exceptions.
void DecodeI8xRow(const I8xChannels& channels, const int8_t* row, float* target);

namespace internal {  // for the test that both ways agree
size_t EncodeI8xRowPortably(const I8xChannels& channels, const float* values, int8_t* target);
void DecodeI8xRowPortably(const I8xChannels& channels, const int8_t* row, float* target);
// True where the processor has another way.
bool HasWideI8x();
size_t EncodeI8xRowWidely(const I8xChannels& channels, const float* values, int8_t* target);
void DecodeI8xRowWidely(const I8xChannels& channels, const int8_t* row, float* target);
}  // namespace internal

}  // namespace afterimage
