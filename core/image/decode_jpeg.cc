#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

// jpeglib.h needs <cstdio> before it.
#include <jerror.h>
#include <jpeglib.h>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decoders.h"
#include "core/image/exif.h"

namespace afterimage::image_internal {
namespace {

// A progressive file may make the decoder go over the whole picture once per scan; real ones have about ten.
constexpr int kMaxScans = 500;

// libjpeg reports through callbacks and expects the fatal one not to return: it jumps back to `on_error`. No
// object with a destructor may come to life between setjmp and the jump.
struct ErrorManager {
  jpeg_error_mgr base;
  jmp_buf on_error;
  char message[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void OnError(j_common_ptr info) {
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  info->err->format_message(info, manager->message);
  std::longjmp(manager->on_error, 1);
}

// Warnings after which every pixel is still what the encoder wrote: an unknown JFIF version, an unknown Adobe
// transform code, and padding before the end marker (common in ImageNet).
bool IsHarmless(const jpeg_error_mgr& error) {
  if (error.msg_code == JWRN_JFIF_MAJOR || error.msg_code == JWRN_ADOBE_XFORM) return true;
  return error.msg_code == JWRN_EXTRANEOUS_DATA && error.msg_parm.i[1] == JPEG_EOI;
}

// Level -1 is a warning: data was missing or corrupt, and libjpeg has made something up. We refuse it.
void OnMessage(j_common_ptr info, int level) {
  if (level < 0 && !IsHarmless(*info->err)) OnError(info);
}

void OnProgress(j_common_ptr info) {
  auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  auto* manager = reinterpret_cast<ErrorManager*>(info->err);
  std::snprintf(manager->message, sizeof(manager->message), "more than %d progressive scans", kMaxScans);
  std::longjmp(manager->on_error, 1);
}

int OrientationOf(const jpeg_decompress_struct& info) {
  for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker == JPEG_APP0 + 1 && marker->data_length >= 6 &&
        std::memcmp(marker->data, "Exif\0\0", 6) == 0) {
      return ExifOrientation({marker->data, marker->data_length});
    }
  }
  return 1;
}

// CMYK as Adobe's programs store it (inverted) to RGB, in Pillow's arithmetic: c * k / 255 rounded to
// nearest.
void ConvertInvertedCmyk(const uint8_t* cmyk, uint32_t num_pixels, uint8_t* rgb) {
  for (uint32_t i = 0; i < num_pixels; ++i, cmyk += 4, rgb += 3) {
    const int black = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * black + 128;
      rgb[c] = static_cast<uint8_t>(black - ((product + (product >> 8)) >> 8));
    }
  }
}

// One decompression. The state that must survive a jump lives here, not in locals of the function that calls
// setjmp.
class JpegDecompression {
 public:
  JpegDecompression() {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = OnError;
    errors_.base.emit_message = OnMessage;
    progress_.progress_monitor = OnProgress;
  }
  ~JpegDecompression() { jpeg_destroy_decompress(&info_); }
  JpegDecompression(const JpegDecompression&) = delete;
  JpegDecompression& operator=(const JpegDecompression&) = delete;

  absl::StatusOr<DecodedImage> Run(ByteSpan encoded) {
    if (!ReadHeader(encoded)) return Failure();
    AFTERIMAGE_RETURN_IF_ERROR(CheckImageSize(info_.image_width, info_.image_height));
    result_.image.width = info_.image_width;
    result_.image.height = info_.image_height;
    result_.image.pixels.resize(size_t{3} * info_.image_width * info_.image_height);
    const bool is_cmyk = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    if (is_cmyk) cmyk_row_.resize(size_t{4} * info_.image_width);
    if (!ReadPixels(is_cmyk)) return Failure();
    return std::move(result_);
  }

 private:
  bool ReadHeader(ByteSpan encoded) {
    if (setjmp(errors_.on_error)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, encoded.data(), encoded.size());
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool ReadPixels(bool is_cmyk) {
    if (setjmp(errors_.on_error)) return false;
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    info_.out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      const uint32_t y = info_.output_scanline;
      JSAMPROW row = is_cmyk ? cmyk_row_.data() : result_.image.Row(y);
      jpeg_read_scanlines(&info_, &row, 1);
      if (is_cmyk) ConvertInvertedCmyk(row, info_.image_width, result_.image.Row(y));
    }
    result_.orientation = OrientationOf(info_);
    // Reads up to the end marker, so that a file cut short behind its last row is noticed too.
    jpeg_finish_decompress(&info_);
    return true;
  }

  absl::Status Failure() const {
    return absl::InvalidArgumentError(
        absl::StrCat("truncated or corrupt JPEG: ", std::string(errors_.message)));
  }

  jpeg_decompress_struct info_{};
  jpeg_progress_mgr progress_{};
  ErrorManager errors_{};
  DecodedImage result_;
  std::vector<uint8_t> cmyk_row_;
};

}  // namespace

absl::StatusOr<DecodedImage> DecodeJpeg(ByteSpan encoded) { return JpegDecompression().Run(encoded); }

}  // namespace afterimage::image_internal
