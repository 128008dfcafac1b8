// How values are stored (docs/codecs.md): the codecs and their names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace afterimage {

// As blocks have it in their header. Beside the named ones: numbers that IsStepCodec is true of.
enum class Codec : uint8_t {
  kF32 = 1,
  kF16 = 2,
  kBf16 = 3,
  kI8x = 4,  // 8 bits a value
  kI6x = 5,
  kI5x = 6,
  kI4x = 7,
  kLossless16 = 8,    // the bits of kF16, entropy-coded
  kLosslessBf16 = 9,  // the bits of kBf16, entropy-coded
  kEzq32 = 10,        // one step for most channels, entropy-coded: 1/32, …
  kEzq16 = 11,
  kEzq8 = 12,
  kEzq4 = 13,
  kEzq2 = 14,  // 1/2
};
// Those that have a name of their own.
inline constexpr Codec kAllCodecs[] = {Codec::kF32,          Codec::kF16,   Codec::kBf16,  Codec::kLossless16,
                                       Codec::kLosslessBf16, Codec::kI8x,   Codec::kI6x,   Codec::kI5x,
                                       Codec::kI4x,          Codec::kEzq32, Codec::kEzq16, Codec::kEzq8,
                                       Codec::kEzq4,         Codec::kEzq2};

// ezq with a step between those: 128 + n, of which each 32nd would be a named one, and is none.
inline constexpr uint8_t kFirstStepCodec = 128;
inline constexpr uint32_t kStepsPerOctave = 32;
inline constexpr bool IsStepCodec(Codec codec) {
  const auto number = static_cast<uint8_t>(codec);
  return number >= kFirstStepCodec && number % kStepsPerOctave != 0;
}
inline constexpr bool IsEzq(Codec codec) {
  return (codec >= Codec::kEzq32 && codec <= Codec::kEzq2) || IsStepCodec(codec);
}
// The step of an ezq codec in 1024ths, 32 to 512: of number 128 + n it is (32 + n % 32) * 2^(n / 32).
inline constexpr uint16_t EzqStep1024(Codec codec) {
  const uint32_t number = static_cast<uint8_t>(codec);
  if (!IsStepCodec(codec))
    return static_cast<uint16_t>(32 << (number - static_cast<uint32_t>(Codec::kEzq32)));
  return static_cast<uint16_t>((kStepsPerOctave + number % kStepsPerOctave)
                               << (number - kFirstStepCodec) / kStepsPerOctave);
}
// Every ezq codec, named or not, by ascending step.
std::vector<Codec> EzqCodecs();

// Bits of a code of the packed codecs; 0 for the others.
inline constexpr int PackedBits(Codec codec) {
  return codec == Codec::kI6x ? 6 : codec == Codec::kI5x ? 5 : codec == Codec::kI4x ? 4 : 0;
}
// True for codecs whose scales stand in a profile.
inline constexpr bool NeedsProfile(Codec codec) {
  return codec == Codec::kI8x || PackedBits(codec) != 0 || IsEzq(codec);
}
// A codec whose planes can only be read whole has another one for single rows; else itself. The values are
// the same, but for ezq, whose are rounded to f16.
inline constexpr Codec RowCodec(Codec codec) {
  return codec == Codec::kLossless16 || IsEzq(codec) ? Codec::kF16
         : codec == Codec::kLosslessBf16             ? Codec::kBf16
                                                     : codec;
}

// "f32", "f16", "bf16", "lossless16", "lossless16-bf16", "i8x", "i6x", "i5x", "i4x", "ezq32", … "ezq2"; with
// another step "ezq:N", N being EzqStep1024. Each codec has one name.
std::string CodecName(Codec codec);
// Of kAllCodecs.
std::vector<std::string> CodecNames();
// InvalidArgument lists them, or names the steps nearest to one that there is not.
absl::StatusOr<Codec> ParseCodec(absl::string_view name);

}  // namespace afterimage
