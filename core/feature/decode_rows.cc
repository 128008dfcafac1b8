#include "core/feature/decode_rows.h"

namespace afterimage {
namespace {

template <FloatType type>
void DecodeAll(const RowsToDecode& batch, void* target) {
  for (uint64_t row = 0; row < batch.num_rows; ++row) {
    for (uint32_t thread = 0; thread < kThreadsPerRow; ++thread)
      DecodeChannels<type>(batch, target, row, thread, kThreadsPerRow);
    for (uint32_t thread = 0; thread < kThreadsPerRow; ++thread)
      PlaceExceptions<type>(batch, target, row, thread, kThreadsPerRow);
  }
}

}  // namespace

void DecodeRowsOnCpu(const RowsToDecode& batch, FloatType type, void* target) {
  switch (type) {
    case FloatType::kF32:
      return DecodeAll<FloatType::kF32>(batch, target);
    case FloatType::kF16:
      return DecodeAll<FloatType::kF16>(batch, target);
    case FloatType::kBf16:
      return DecodeAll<FloatType::kBf16>(batch, target);
  }
}

}  // namespace afterimage
