// Pictures per second of what a precompute worker does before the teacher: decode a JPEG, draw and cut views.

#include <cstdio>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/image/decode.h"
#include "core/view/view.h"
#include "tests/benchmarks/pictures.h"

namespace afterimage {
namespace {

constexpr absl::Duration kMeasureTime = absl::Seconds(2);

// Calls `work` with 0, 1, 2, … for a while and prints how often it could.
template <typename Work>
void Measure(const char* what, Work work) {
  uint32_t count = 0;
  const absl::Time start = absl::Now();
  while (absl::Now() - start < kMeasureTime) work(count++);
  std::printf("%-46s %8.0f /s\n", what, count / absl::ToDoubleSeconds(absl::Now() - start));
}

int Run() {
  const std::string encoded = benchmarks::NoisyPhotograph(1);
  const ImageKey key = ImageKey::OfEncodedImage(AsBytes(encoded));
  const ViewSpec spec;
  std::printf("500 x 375 JPEG of %zu bytes, one thread\n", encoded.size());
  const RgbImage image = DecodeImage(AsBytes(encoded)).value();
  uint64_t digests = 0;
  const auto make_view = [&](const RgbImage& decoded, uint32_t seed) {
    const ViewGeometry geometry = DrawViewGeometry(key, spec, seed, decoded.width, decoded.height);
    digests ^= MakeView(decoded, spec, geometry).value().digest;
  };
  Measure("decode", [&](uint32_t) { digests ^= DecodeImage(AsBytes(encoded)).value().pixels[0]; });
  Measure("random resized crop to 224, flip, digest", [&](uint32_t seed) { make_view(image, seed); });
  Measure("decode and one view",
          [&](uint32_t seed) { make_view(DecodeImage(AsBytes(encoded)).value(), seed); });
  Measure("image key (SHA-256)",
          [&](uint32_t) { digests ^= ImageKey::OfEncodedImage(AsBytes(encoded)).bytes[0]; });
  std::printf("(%llx)\n", static_cast<unsigned long long>(digests));  // so that nothing is optimised away
  return 0;
}

}  // namespace
}  // namespace afterimage

int main() { return afterimage::Run(); }
