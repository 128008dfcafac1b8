// Pictures per second of what a precompute worker does before the teacher: decode a JPEG, draw and cut views.
//
// The picture is the committed photo_420.jpg, enlarged to 500 x 375 (ImageNet's most frequent size), with
// noise, and encoded again at quality 90.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/base/files.h"
#include "core/image/decode.h"
#include "core/image/resize.h"
#include "core/view/view.h"

namespace afterimage {
namespace {

constexpr absl::Duration kMeasureTime = absl::Seconds(2);
constexpr int kQuality = 90;

std::string EncodeJpeg(const RgbImage& image) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = image.width;
  info.image_height = image.height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, kQuality, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    auto* row = const_cast<JSAMPROW>(image.Row(info.next_scanline));
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  std::string encoded(reinterpret_cast<char*>(buffer), size);
  jpeg_destroy_compress(&info);
  std::free(buffer);
  return encoded;
}

std::string MakePicture() {
  const std::string path = std::string(AFTERIMAGE_SOURCE_DIR) + "/tests/core/image/data/photo_420.jpg";
  const RgbImage small = DecodeImage(AsBytes(ReadFile(path).value())).value();
  RgbImage image = CropAndResize(small, {0, 0, small.width, small.height}, 500, 375).value();
  uint32_t state = 1;
  for (uint8_t& value : image.pixels) {
    state = state * 1664525 + 1013904223;
    const int noisy = value + static_cast<int>(state >> 28) - 8;
    value = static_cast<uint8_t>(noisy < 0 ? 0 : noisy > 255 ? 255 : noisy);
  }
  return EncodeJpeg(image);
}

// Calls `work` with 0, 1, 2, … for a while and prints how often it could.
template <typename Work>
void Measure(const char* what, Work work) {
  uint32_t count = 0;
  const absl::Time start = absl::Now();
  while (absl::Now() - start < kMeasureTime) work(count++);
  std::printf("%-46s %8.0f /s\n", what, count / absl::ToDoubleSeconds(absl::Now() - start));
}

int Run() {
  const std::string encoded = MakePicture();
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
