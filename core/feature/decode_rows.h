// The dequantisation of a batch of rows as a device does it: one launch gathers them, decodes them and puts
// their exceptions in. The arithmetic is here once, for the CUDA kernel (trainer/data/cuda) and for its CPU
// build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/base/host_device.h"
#include "core/feature/bfloat16.h"
#include "core/feature/half.h"
#include "core/feature/packed_layout.h"

namespace afterimage {

// How the bytes of one row are to be read. Numbers are in memory that goes to a device, in no file.
enum class RowCode : uint8_t { kF32, kF16, kBf16, kI8, kPacked4, kPacked5, kPacked6 };
// What quantised values are multiplied by: a row of ScaleView::scale. Floats have none, and say kI8x.
enum class RowScale : uint8_t { kI8x, kPacked4, kPacked5, kPacked6, kEzq };
inline constexpr size_t kNumRowScales = 5;

// Values as they are decoded to: float32, IEEE binary16 or bfloat16, the latter two rounded to the nearest,
// ties to even, and to infinity beyond their range.
enum class FloatType : uint8_t { kF32, kF16, kBf16 };
inline constexpr size_t FloatBytes(FloatType type) { return type == FloatType::kF32 ? 4 : 2; }

// Where one row of a batch lies.
struct CodedRow {
  uint64_t offset = 0;           // of its bytes in RowsToDecode::bytes; aligned for its type
  uint32_t first_exception = 0;  // its exceptions end where those of the next row begin
  RowCode code = RowCode::kF32;
  RowScale scale = RowScale::kI8x;
  uint16_t ezq_step = 0;  // of kEzq, in 1024ths: what a channel's scale is at least
};
static_assert(sizeof(CodedRow) == 16);

// A value that its row does not hold.
struct CodedException {
  uint32_t channel = 0;
  float value = 0;
};
static_assert(sizeof(CodedException) == 8);

// The constants of one level, as ScaleTables (scale_tables.h) lays them out. All null where no row is
// quantised.
struct ScaleView {
  const float* levels = nullptr;   // [256]: level i of packed rows of b bits at (2 << b) + i
  const float* mean = nullptr;     // [width]
  const float* scale = nullptr;    // [kNumRowScales, width]; those of wide channels among the packed ones
  const uint32_t* wide = nullptr;  // [width]: 1 + the number of a packed row's wide channel, 0 for the others
};

// Arguments of a launch. All pointers are of the memory of whatever decodes.
struct RowsToDecode {
  const uint8_t* bytes = nullptr;
  const CodedRow* rows = nullptr;  // num_rows, and one more whose first_exception ends the last one's
  const CodedException* exceptions = nullptr;  // of each row, ascending by channel
  uint64_t num_rows = 0;
  uint32_t width = 0;
  ScaleView scales;
};

// A block of this many threads has one row, whose channels they take in turns.
inline constexpr uint32_t kThreadsPerRow = 128;

namespace internal {

template <typename T>
AFTERIMAGE_HOST_DEVICE inline T LoadElement(const uint8_t* row, uint32_t index) {
#if defined(__CUDA_ARCH__)
  return reinterpret_cast<const T*>(row)[index];
#else
  T value;
  std::memcpy(&value, row + size_t{index} * sizeof(T), sizeof(T));
  return value;
#endif
}

// What the mean and scale of the channel are applied to.
AFTERIMAGE_HOST_DEVICE inline float PackedLevel(int bits, const ScaleView& scales, uint32_t width,
                                                const uint8_t* row, uint32_t channel) {
  if (const uint32_t wide = scales.wide[channel]; wide != 0)
    return static_cast<float>(PackedWideAt(bits, width, row, channel, wide - 1));
  return scales.levels[(2u << bits) + PackedLevelAt(bits, width, row, channel)];
}

template <FloatType type>
AFTERIMAGE_HOST_DEVICE inline void StoreValue(float value, void* target, uint64_t index) {
  if constexpr (type == FloatType::kF32) {
    static_cast<float*>(target)[index] = value;
  } else {
    static_cast<uint16_t*>(target)[index] =
        type == FloatType::kF16 ? FloatToHalf(value) : FloatToBfloat16(value);
  }
}

}  // namespace internal

// One value of a row, exceptions apart: the same operations in the same order as DecodeI8xRow and
// DecodePackedRow, and so the same bits.
AFTERIMAGE_HOST_DEVICE inline float DecodeValue(const RowsToDecode& batch, const CodedRow& row,
                                                uint32_t channel) {
  const uint8_t* const bytes = batch.bytes + row.offset;
  const ScaleView& scales = batch.scales;
  float level = 0;
  switch (row.code) {
    case RowCode::kF32:
      return internal::LoadElement<float>(bytes, channel);
    case RowCode::kF16:
      return HalfToFloat(internal::LoadElement<uint16_t>(bytes, channel));
    case RowCode::kBf16:
      return Bfloat16ToFloat(internal::LoadElement<uint16_t>(bytes, channel));
    case RowCode::kI8:
      level = static_cast<float>(static_cast<int8_t>(bytes[channel]));
      break;
    case RowCode::kPacked4:
      level = internal::PackedLevel(4, scales, batch.width, bytes, channel);
      break;
    case RowCode::kPacked5:
      level = internal::PackedLevel(5, scales, batch.width, bytes, channel);
      break;
    case RowCode::kPacked6:
      level = internal::PackedLevel(6, scales, batch.width, bytes, channel);
      break;
  }
  const size_t at = static_cast<size_t>(row.scale) * batch.width + channel;
  const float least = static_cast<float>(row.ezq_step) * 0x1p-10f;
  const float scale = scales.scale[at];
  return MultiplyThenAdd(level, scale < least ? least : scale, scales.mean[channel]);
}

// What thread `thread` of the block of `row` does before all threads of the block have met at a barrier …
template <FloatType type>
AFTERIMAGE_HOST_DEVICE inline void DecodeChannels(const RowsToDecode& batch, void* target, uint64_t row,
                                                  uint32_t thread, uint32_t num_threads) {
  const CodedRow coded = batch.rows[row];
  for (uint32_t channel = thread; channel < batch.width; channel += num_threads)
    internal::StoreValue<type>(DecodeValue(batch, coded, channel), target, row * batch.width + channel);
}

// … and after it.
template <FloatType type>
AFTERIMAGE_HOST_DEVICE inline void PlaceExceptions(const RowsToDecode& batch, void* target, uint64_t row,
                                                   uint32_t thread, uint32_t num_threads) {
  const uint32_t end = batch.rows[row + 1].first_exception;
  for (uint32_t i = batch.rows[row].first_exception + thread; i < end; i += num_threads)
    internal::StoreValue<type>(batch.exceptions[i].value, target,
                               row * batch.width + batch.exceptions[i].channel);
}

// The CPU build of the kernel: the same functions, one thread of the grid after the other. `target`: num_rows
// x width values of `type`, aligned for it. Thread-safe.
void DecodeRowsOnCpu(const RowsToDecode& batch, FloatType type, void* target);

}  // namespace afterimage
