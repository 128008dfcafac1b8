# Language, warnings, sanitizers, linker and compiler cache: everything that is about how, not what, we compile.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# Bit-identical results on every machine: no fused multiply-add behind our back (design.md section 4).
add_compile_options(-ffp-contract=off)

# Some libraries' targets ask for it and some do not; a precompiled header needs it to be the same everywhere.
add_compile_options(-pthread)
add_link_options(-pthread)

# Every target of ours links this; generated code does not.
add_library(afterimage_options INTERFACE)
target_compile_options(afterimage_options INTERFACE
  -Wall -Wextra
  -Wno-missing-field-initializers  # designated initializers leave out what has a default
  -Wno-restrict                    # false alarms of GCC 12 inside std::string
  -Werror=unused-result            # a dropped Status does not compile
  -Werror=return-type
  -Werror=non-virtual-dtor
)

if(AFTERIMAGE_SANITIZE)
  add_compile_options(-fsanitize=${AFTERIMAGE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${AFTERIMAGE_SANITIZE})
endif()

find_program(AFTERIMAGE_LLD NAMES ld.lld)
if(AFTERIMAGE_LLD)
  add_link_options(-fuse-ld=lld)
endif()

find_program(AFTERIMAGE_CCACHE NAMES ccache)
if(AFTERIMAGE_CCACHE)
  # The cache is shared by all clones: paths below the source folder are hashed relative to it. The sloppiness is
  # what ccache asks for where a precompiled header is used.
  set(ccache_environment
    "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_SLOPPINESS=pch_defines,time_macros)
  if(NOT DEFINED ENV{CCACHE_DIR} AND DEFINED ENV{HOME})
    list(APPEND ccache_environment "CCACHE_DIR=$ENV{HOME}/.cache/afterimage/ccache")
  endif()
  set(CMAKE_C_COMPILER_LAUNCHER env ${ccache_environment} ${AFTERIMAGE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER env ${ccache_environment} ${AFTERIMAGE_CCACHE})
  add_compile_options($<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fpch-preprocess>)
endif()
