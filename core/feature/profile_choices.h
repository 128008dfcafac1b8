// What calibration chooses from a level's moments. The choices stand in the profile, so that whoever decodes
// reads them there, and a better rule needs no other format.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace afterimage {

// Steps of i8x are sigma * clip / 127. A smaller clip is a smaller error and more exceptions; with 5 a step
// is 0.0114 sigma in RMSE, too much only where deviations hold nearly all of the energy.
inline constexpr float kWidestI8xClip = 5.0f;
inline constexpr float kNarrowestI8xClip = 4.0f;
// Rounding errors that ChooseI8xClip aims at: 0.010 is promised, exceptions and small samples have the rest.
inline constexpr double kI8xRmseAim = 0.0098;

// kWidestI8xClip, or less where the level's rounding error would exceed kI8xRmseAim: what gives that one,
// down to kNarrowestI8xClip. The rounding error is clip / (127 sqrt(12)) of the root of the mean of sigma^2.
float ChooseI8xClip(std::span<const float> sigma);

// The channels that i4x to i6x keep in whole bytes, ascending: those of the largest sigma (ties: the lower
// number). They come in pairs, since two share a byte: one; more, up to one for every 36 channels, as long as
// both have over 2.5 times the mean square deviation of the channels that are left; and all channels above
// kLargestScale, which codes do not reach. Each takes half a byte more than a code. `sigma`: at most 65536.
std::vector<uint16_t> ChooseWideChannels(std::span<const float> sigma);

}  // namespace afterimage
