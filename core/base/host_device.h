// Functions that are compiled for the processor and, in a .cu file, for a GPU too.
#pragma once

#if defined(__CUDACC__)
#define AFTERIMAGE_HOST_DEVICE __host__ __device__
#else
#define AFTERIMAGE_HOST_DEVICE
#endif

namespace afterimage {

// a * b + c in float32 with both roundings: never one fused operation, on whatever it runs. (Processor code
// is compiled with -ffp-contract=off, cmake/Toolchain.cmake.)
AFTERIMAGE_HOST_DEVICE inline float MultiplyThenAdd(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(__fmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

}  // namespace afterimage
