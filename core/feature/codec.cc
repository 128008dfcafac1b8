#include "core/feature/codec.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace afterimage {
namespace {

constexpr char kStepPrefix[] = "ezq:";

absl::Status NoSuchStep(absl::string_view name, absl::string_view nearest) {
  return absl::InvalidArgumentError(
      absl::StrCat("codec \"", name, "\": there is no such step by this name; nearest to it: ", nearest));
}

}  // namespace

std::string CodecName(Codec codec) {
  switch (codec) {
    case Codec::kF32:
      return "f32";
    case Codec::kF16:
      return "f16";
    case Codec::kBf16:
      return "bf16";
    case Codec::kI8x:
      return "i8x";
    case Codec::kI6x:
      return "i6x";
    case Codec::kI5x:
      return "i5x";
    case Codec::kI4x:
      return "i4x";
    case Codec::kLossless16:
      return "lossless16";
    case Codec::kLosslessBf16:
      return "lossless16-bf16";
    case Codec::kEzq32:
      return "ezq32";
    case Codec::kEzq16:
      return "ezq16";
    case Codec::kEzq8:
      return "ezq8";
    case Codec::kEzq4:
      return "ezq4";
    case Codec::kEzq2:
      return "ezq2";
  }
  if (IsStepCodec(codec)) return absl::StrCat(kStepPrefix, EzqStep1024(codec));
  return absl::StrCat("codec ", static_cast<int>(codec));
}

std::vector<std::string> CodecNames() {
  std::vector<std::string> names;
  for (const Codec codec : kAllCodecs) names.push_back(CodecName(codec));
  return names;
}

std::vector<Codec> EzqCodecs() {
  std::vector<Codec> codecs;
  for (int number = 0; number < 256; ++number) {
    if (IsEzq(static_cast<Codec>(number))) codecs.push_back(static_cast<Codec>(number));
  }
  std::ranges::sort(codecs, {}, EzqStep1024);
  return codecs;
}

absl::StatusOr<Codec> ParseCodec(absl::string_view name) {
  for (const Codec codec : kAllCodecs) {
    if (name == CodecName(codec)) return codec;
  }
  uint32_t step = 0;
  if (absl::string_view text = name;
      absl::ConsumePrefix(&text, kStepPrefix) && absl::SimpleAtoi(text, &step)) {
    const std::vector<Codec> codecs = EzqCodecs();
    const auto above = std::ranges::lower_bound(codecs, step, {}, EzqStep1024);
    if (above == codecs.end()) return NoSuchStep(name, CodecName(codecs.back()));
    if (CodecName(*above) == name) return *above;
    if (EzqStep1024(*above) == step) return NoSuchStep(name, CodecName(*above));  // which has a name
    if (above == codecs.begin()) return NoSuchStep(name, CodecName(*above));
    return NoSuchStep(name, absl::StrCat(CodecName(above[-1]), " and ", CodecName(*above)));
  }
  return absl::InvalidArgumentError(absl::StrCat("codec \"", name, "\" is unknown; known are: ",
                                                 absl::StrJoin(CodecNames(), ", "), ", ", kStepPrefix, "N"));
}

}  // namespace afterimage
