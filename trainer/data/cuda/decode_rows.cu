#include <cuda_runtime.h>

#include <algorithm>
#include <limits>

#include "trainer/data/cuda/launch_decode_rows.h"

namespace afterimage::trainer::cuda {
namespace {

// A block for each row, over as many rows as there are more of them than blocks. Rows do not touch each
// other, and no two threads write one value between two barriers, so that the result is the same each time.
template <FloatType type>
__global__ void __launch_bounds__(kThreadsPerRow) DecodeRowsKernel(const RowsToDecode rows, void* target) {
  for (uint64_t row = blockIdx.x; row < rows.num_rows; row += gridDim.x) {
    DecodeChannels<type>(rows, target, row, threadIdx.x, blockDim.x);
    __syncthreads();
    PlaceExceptions<type>(rows, target, row, threadIdx.x, blockDim.x);
  }
}

}  // namespace

const char* LaunchDecodeRows(const RowsToDecode& rows, FloatType type, void* target, CUstream_st* stream) {
  if (rows.num_rows == 0) return nullptr;
  constexpr uint64_t kMostBlocks = std::numeric_limits<int32_t>::max();
  const auto num_blocks = static_cast<unsigned int>(std::min(rows.num_rows, kMostBlocks));
  switch (type) {
    case FloatType::kF32:
      DecodeRowsKernel<FloatType::kF32><<<num_blocks, kThreadsPerRow, 0, stream>>>(rows, target);
      break;
    case FloatType::kF16:
      DecodeRowsKernel<FloatType::kF16><<<num_blocks, kThreadsPerRow, 0, stream>>>(rows, target);
      break;
    case FloatType::kBf16:
      DecodeRowsKernel<FloatType::kBf16><<<num_blocks, kThreadsPerRow, 0, stream>>>(rows, target);
      break;
  }
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace afterimage::trainer::cuda
