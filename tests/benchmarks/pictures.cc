#include "tests/benchmarks/pictures.h"

#include <cstdio>
#include <cstdlib>

// jpeglib.h needs <cstdio> before it.
#include <jpeglib.h>

#include "core/base/files.h"
#include "core/image/decode.h"
#include "core/image/resize.h"

namespace afterimage::benchmarks {
namespace {

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

}  // namespace

std::string NoisyPhotograph(uint32_t seed) {
  const std::string path = std::string(AFTERIMAGE_SOURCE_DIR) + "/tests/core/image/data/photo_420.jpg";
  const RgbImage small = DecodeImage(AsBytes(ReadFile(path).value())).value();
  RgbImage image = CropAndResize(small, {0, 0, small.width, small.height}, 500, 375).value();
  uint32_t state = seed;
  for (uint8_t& value : image.pixels) {
    state = state * 1664525 + 1013904223;
    const int noisy = value + static_cast<int>(state >> 28) - 8;
    value = static_cast<uint8_t>(noisy < 0 ? 0 : noisy > 255 ? 255 : noisy);
  }
  return EncodeJpeg(image);
}

}  // namespace afterimage::benchmarks
