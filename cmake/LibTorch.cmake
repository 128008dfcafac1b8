# LibTorch, CPU part, from the unpacked wheel that deploy/setup.sh puts behind .deps/libtorch; with AFTERIMAGE_WITH_CUDA
# its CUDA part too, from .deps/libtorch-cuda (deploy/setup.sh --cuda).
#
# The wheel's own TorchConfig.cmake is not used: it wants nvcc, and a prefix path to the wheel would bring in its
# protobuf headers and protoc. Target: afterimage::libtorch. Use it through afterimage_use_torch(target).

if(AFTERIMAGE_WITH_CUDA)
  set(default_libtorch "${CMAKE_SOURCE_DIR}/.deps/libtorch-cuda")
  set(needed_library libtorch_cuda.so)
  set(remedy "Run deploy/setup.sh --cuda, or configure with -DAFTERIMAGE_WITH_CUDA=OFF.")
else()
  set(default_libtorch "${CMAKE_SOURCE_DIR}/.deps/libtorch")
  set(needed_library libtorch_cpu.so)
  set(remedy "Run deploy/setup.sh, or configure with -DAFTERIMAGE_WITH_TORCH=OFF.")
endif()
set(AFTERIMAGE_LIBTORCH "${default_libtorch}" CACHE PATH "Unpacked LibTorch (lib/, include/)")
if(NOT EXISTS "${AFTERIMAGE_LIBTORCH}/lib/${needed_library}")
  message(FATAL_ERROR "LibTorch is not at ${AFTERIMAGE_LIBTORCH}. ${remedy}")
endif()
# The resolved folder is the same for every clone, and so are the compiler cache's keys.
file(REAL_PATH "${AFTERIMAGE_LIBTORCH}" libtorch_folder)
if(EXISTS "${libtorch_folder}/include/google")
  message(FATAL_ERROR "${libtorch_folder}/include/google must go: it shadows the system's protobuf headers.")
endif()

add_library(afterimage_c10 SHARED IMPORTED GLOBAL)
set_target_properties(afterimage_c10 PROPERTIES IMPORTED_LOCATION "${libtorch_folder}/lib/libc10.so")
add_library(afterimage_torch_cpu SHARED IMPORTED GLOBAL)
set_target_properties(afterimage_torch_cpu PROPERTIES IMPORTED_LOCATION "${libtorch_folder}/lib/libtorch_cpu.so")

add_library(afterimage_libtorch INTERFACE)
add_library(afterimage::libtorch ALIAS afterimage_libtorch)
# The C++11 string ABI, both the wheel's and the compiler's default: nothing to define.
target_include_directories(afterimage_libtorch SYSTEM INTERFACE
  "${libtorch_folder}/include" "${libtorch_folder}/include/torch/csrc/api/include")
target_link_libraries(afterimage_libtorch INTERFACE afterimage_torch_cpu afterimage_c10 Threads::Threads)
if(AFTERIMAGE_WITH_CUDA)
  # Nothing of ours calls most of it: it registers its kernels when it is loaded, so it must be linked all the same.
  target_link_options(afterimage_libtorch INTERFACE -Wl,--no-as-needed -Wl,--allow-shlib-undefined)
  foreach(name IN ITEMS c10_cuda.so torch_cuda.so torch.so cudart.so.13)
    add_library(afterimage_cuda_part_${name} SHARED IMPORTED GLOBAL)
    set_target_properties(afterimage_cuda_part_${name} PROPERTIES IMPORTED_LOCATION "${libtorch_folder}/lib/lib${name}")
    target_link_libraries(afterimage_libtorch INTERFACE afterimage_cuda_part_${name})
  endforeach()
  target_include_directories(afterimage_libtorch SYSTEM INTERFACE "${libtorch_folder}/cuda-include")
  target_compile_definitions(afterimage_libtorch INTERFACE AFTERIMAGE_WITH_CUDA)
endif()

# The precompiled <ATen/ATen.h> that all torch targets share (13 s a file without it).
add_library(afterimage_torch_pch OBJECT "${CMAKE_SOURCE_DIR}/cmake/torch_pch.cc")
target_link_libraries(afterimage_torch_pch PRIVATE afterimage_options afterimage::libtorch)
target_include_directories(afterimage_torch_pch PRIVATE "${CMAKE_SOURCE_DIR}")
target_precompile_headers(afterimage_torch_pch PRIVATE <ATen/ATen.h>)

# Links LibTorch privately and compiles the target's sources with the shared precompiled header. What shows
# at::Tensor in its headers passes PUBLIC as second argument. Rule of the project: ATen and autograd headers only,
# never torch/torch.h, and no file that includes both torch and generated protobuf headers.
function(afterimage_use_torch target)
  set(visibility PRIVATE)
  if("PUBLIC" IN_LIST ARGN)
    set(visibility PUBLIC)
  endif()
  target_link_libraries(${target} ${visibility} afterimage::libtorch)
  target_precompile_headers(${target} REUSE_FROM afterimage_torch_pch)
endfunction()
