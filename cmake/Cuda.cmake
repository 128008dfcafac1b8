# CUDA kernels, compiled by the nvcc that deploy/setup.sh --cuda puts behind .deps/nvcc. CMake's own CUDA
# language is not used: it looks for a whole toolkit, which the wheels are not, and for static libraries that
# nobody needs here.

if(NOT AFTERIMAGE_WITH_CUDA)
  return()
endif()
set(AFTERIMAGE_NVCC "${CMAKE_SOURCE_DIR}/.deps/nvcc/bin/nvcc" CACHE FILEPATH "The CUDA compiler, 13.0")
if(NOT EXISTS "${AFTERIMAGE_NVCC}")
  message(FATAL_ERROR
    "nvcc is not at ${AFTERIMAGE_NVCC}. Run deploy/setup.sh --cuda, or set AFTERIMAGE_NVCC.")
endif()
set(AFTERIMAGE_CUDA_ARCHITECTURES "80;90" CACHE STRING
    "GPU architectures of the kernels; the last one's code is also kept as PTX, for newer GPUs")

# afterimage_cuda_sources(<target> <file.cu> …): adds them to a library. They see the repository root and the
# CUDA headers, never LibTorch's. What registers and spills they take is printed as they are compiled.
function(afterimage_cuda_sources target)
  set(architectures)
  foreach(architecture IN LISTS AFTERIMAGE_CUDA_ARCHITECTURES)
    list(APPEND architectures "-gencode=arch=compute_${architecture},code=sm_${architecture}")
  endforeach()
  list(GET AFTERIMAGE_CUDA_ARCHITECTURES -1 last)
  list(APPEND architectures "-gencode=arch=compute_${last},code=compute_${last}")
  foreach(source IN LISTS ARGN)
    set(input "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${source}.o")
    cmake_path(GET object PARENT_PATH folder)
    file(MAKE_DIRECTORY "${folder}")
    add_custom_command(
      OUTPUT "${object}"
      # -fmad=false: as the processor's -ffp-contract=off. Constexpr: std::bit_cast is no __device__ function.
      COMMAND "${AFTERIMAGE_NVCC}" -c "${input}" -o "${object}" -MD -MF "${object}.d"
              -std=c++20 -O3 --expt-relaxed-constexpr -fmad=false ${architectures} -Xptxas=-v
              "-ccbin=${CMAKE_CXX_COMPILER}" "-Xcompiler=-ffp-contract=off,-fPIC,-Wall"
              "-I${CMAKE_SOURCE_DIR}" -isystem "${AFTERIMAGE_LIBTORCH}/cuda-include"
      DEPENDS "${input}"
      DEPFILE "${object}.d"
      COMMENT "Building CUDA object ${source}"
      VERBATIM)
    target_sources(${target} PRIVATE "${object}")
  endforeach()
endfunction()
