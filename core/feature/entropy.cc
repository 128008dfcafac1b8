#include "core/feature/entropy.h"

#include <cstdlib>
#include <memory>

#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_c_literalCompressionMode
#include <zstd.h>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// One of each per thread.
ZSTD_CCtx* Compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context = [] {
    std::unique_ptr<ZSTD_CCtx, FreeContext> made(ZSTD_createCCtx());
    // The lowest level takes such long steps that it finds next to no repeats.
    if (made == nullptr ||
        ZSTD_isError(ZSTD_CCtx_setParameter(made.get(), ZSTD_c_compressionLevel, ZSTD_minCLevel())) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(made.get(), ZSTD_c_literalCompressionMode, ZSTD_ps_enable))) {
      std::abort();  // no memory, or a library that does not know its own parameters
    }
    return made;
  }();
  return context.get();
}

ZSTD_DCtx* Decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (context == nullptr) std::abort();  // no memory
  return context.get();
}

}  // namespace

void AppendHuffmanFrame(ByteSpan bytes, std::vector<uint8_t>& target) {
  const size_t begin = target.size();
  target.resize(begin + ZSTD_compressBound(bytes.size()));
  const size_t size =
      ZSTD_compress2(Compressor(), target.data() + begin, target.size() - begin, bytes.data(), bytes.size());
  if (ZSTD_isError(size)) std::abort();  // there is room for the worst case
  target.resize(begin + size);
}

absl::Status ReadHuffmanFrame(ByteSpan frame, std::span<uint8_t> target) {
  const auto damaged = [](const auto&... parts) {
    return absl::DataLossError(absl::StrCat("entropy-coded bytes: ", parts...));
  };
  const unsigned long long content = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN) return damaged("no frame");
  if (content != target.size()) return damaged("a frame of ", content, " bytes, not ", target.size());
  const size_t length = ZSTD_findFrameCompressedSize(frame.data(), frame.size());
  if (ZSTD_isError(length) || length != frame.size())
    return damaged("the frame does not end where its section does");
  // In one call, into all of the target: the decoder needs no window of its own.
  const size_t size =
      ZSTD_decompressDCtx(Decompressor(), target.data(), target.size(), frame.data(), frame.size());
  if (ZSTD_isError(size)) return damaged(ZSTD_getErrorName(size));
  if (size != target.size()) return damaged("a frame of ", size, " bytes, not ", target.size());
  return absl::OkStatus();
}

}  // namespace afterimage
