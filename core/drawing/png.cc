#include <spng.h>

#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/drawing/canvas.h"

namespace afterimage {
namespace {

absl::Status PngStatus(int error, absl::string_view operation) {
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("PNG: ", operation, ": ", spng_strerror(error)));
}

}  // namespace

absl::StatusOr<std::string> EncodePng(const RgbImage& image) {
  if (image.width == 0 || image.height == 0 || image.pixels.size() != size_t{3} * image.width * image.height) {
    return absl::InvalidArgumentError(absl::StrCat("PNG: a picture of ", image.width, " x ", image.height, " with ",
                                                   image.pixels.size(), " bytes cannot be encoded"));
  }
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> context(spng_ctx_new(SPNG_CTX_ENCODER), spng_ctx_free);
  if (context == nullptr) return absl::ResourceExhaustedError("PNG: out of memory");
  AFTERIMAGE_RETURN_IF_ERROR(PngStatus(spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1), "set the target"));
  spng_ihdr header{};
  header.width = image.width;
  header.height = image.height;
  header.bit_depth = 8;
  header.color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  AFTERIMAGE_RETURN_IF_ERROR(PngStatus(spng_set_ihdr(context.get(), &header), "set the header"));
  AFTERIMAGE_RETURN_IF_ERROR(PngStatus(spng_encode_image(context.get(), image.pixels.data(), image.pixels.size(),
                                                         SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE),
                                       "encode"));
  size_t length = 0;
  int error = 0;
  const std::unique_ptr<void, void (*)(void*)> buffer(spng_get_png_buffer(context.get(), &length, &error), std::free);
  AFTERIMAGE_RETURN_IF_ERROR(PngStatus(error, "take the buffer"));
  return std::string(static_cast<const char*>(buffer.get()), length);
}

absl::Status WritePng(const RgbImage& image, const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string png, EncodePng(image));
  return WriteFileAtomically(path, png);
}

}  // namespace afterimage
