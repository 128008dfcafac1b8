# The functions with which the folders declare what they build.
#
# Library targets: afterimage_base, afterimage_identity, afterimage_image, afterimage_view, afterimage_mask,
# afterimage_feature, afterimage_order, afterimage_analysis, afterimage_drawing, afterimage_tensors, afterimage_teacher, afterimage_vit,
# afterimage_proto, afterimage_storage, afterimage_service, afterimage_remote, afterimage_open_cache,
# afterimage_neighbours, afterimage_precompute_lib, afterimage_distributed, afterimage_run_records,
# afterimage_trainer_lib. Binaries: afterimage,
# afterimage-server, afterimage-precompute, afterimage-train.
# Third-party targets are listed in ThirdParty.cmake.

# afterimage_library(<target> SOURCES … [DEPENDS …] [PRIVATE_DEPENDS …])
# A static library. Includes start at the repository root: "core/feature/manifest.h". DEPENDS: what its headers
# show; PRIVATE_DEPENDS: what only its sources use. Without SOURCES it is header-only.
function(afterimage_library target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "afterimage_library(${target}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(arg_SOURCES)
    add_library(${target} STATIC ${arg_SOURCES})
    target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE afterimage_options ${arg_PRIVATE_DEPENDS})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} INTERFACE ${arg_DEPENDS})
  endif()
endfunction()

# afterimage_binary(<name> SOURCES … [DEPENDS …]): an executable build/<preset>/bin/<name>.
function(afterimage_binary name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "afterimage_binary(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE afterimage_options ${arg_DEPENDS})
endfunction()

# afterimage_test(<name> SOURCES … [DEPENDS …] [LABELS fast|slow …] [TIMEOUT seconds])
# A GoogleTest program with GoogleMock's main, registered as one ctest entry. It sees AFTERIMAGE_SOURCE_DIR (find
# tests/golden through it) and AFTERIMAGE_BINARY_DIR (the binaries are in its bin/).
function(afterimage_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;DEPENDS;LABELS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "afterimage_test(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS fast)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  foreach(source IN LISTS arg_SOURCES)
    file(REAL_PATH "${source}" path BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    set_property(GLOBAL APPEND PROPERTY AFTERIMAGE_TEST_SOURCES "${path}")
  endforeach()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests/bin")
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_compile_definitions(${name} PRIVATE
    AFTERIMAGE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" AFTERIMAGE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_link_libraries(${name} PRIVATE
    afterimage_options ${arg_DEPENDS} GTest::gmock_main GTest::gmock GTest::gtest absl::status absl::statusor)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "OMP_WAIT_POLICY=PASSIVE")
endfunction()

# afterimage_proto_library(<target> PROTOS afterimage/v1/x.proto … [MESSAGES_ONLY] [ROOT folder])
# Messages and gRPC stubs of files below ROOT, the calling folder unless said: #include "afterimage/v1/x.grpc.pb.h".
# MESSAGES_ONLY: no stubs, no gRPC. An empty list gives an empty library.
function(afterimage_proto_library target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "MESSAGES_ONLY" "ROOT" "PROTOS")
  if(NOT arg_ROOT)
    set(arg_ROOT "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  set(output_folder "${CMAKE_BINARY_DIR}/generated")
  file(MAKE_DIRECTORY "${output_folder}")
  set(stubs)
  set(runtime protobuf::libprotobuf)
  if(NOT arg_MESSAGES_ONLY)
    set(stubs "--grpc_out=${output_folder}" "--plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>")
    list(PREPEND runtime gRPC::grpc++)
  endif()
  set(generated)
  set(inputs)
  foreach(proto IN LISTS arg_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
    list(APPEND inputs "${arg_ROOT}/${proto}")
    list(APPEND generated "${output_folder}/${stem}.pb.cc" "${output_folder}/${stem}.pb.h")
    if(NOT arg_MESSAGES_ONLY)
      list(APPEND generated "${output_folder}/${stem}.grpc.pb.cc" "${output_folder}/${stem}.grpc.pb.h")
    endif()
  endforeach()
  if(NOT generated)
    add_library(${target} INTERFACE)
    return()
  endif()
  add_custom_command(
    OUTPUT ${generated}
    COMMAND protobuf::protoc "--proto_path=${arg_ROOT}" "--cpp_out=${output_folder}" ${stubs} ${inputs}
    DEPENDS ${inputs} protobuf::protoc gRPC::grpc_cpp_plugin
    COMMENT "Generating ${target}"
    VERBATIM)
  add_library(${target} STATIC ${generated})
  target_include_directories(${target} SYSTEM PUBLIC "${output_folder}")
  target_link_libraries(${target} PUBLIC ${runtime})
endfunction()

# afterimage_add_folders(folder …): those that exist (and are asked for by AFTERIMAGE_COMPONENTS), in this order.
function(afterimage_add_folders)
  foreach(folder IN LISTS ARGN)
    if(AFTERIMAGE_COMPONENTS AND NOT folder IN_LIST AFTERIMAGE_COMPONENTS)
      continue()
    endif()
    if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/CMakeLists.txt")
      add_subdirectory("${folder}")
    endif()
  endforeach()
endfunction()

# afterimage_check_tests_are_registered(): adds a test that fails when a *_test.cc below the calling folder is built
# by no afterimage_test. Only for a build of everything.
function(afterimage_check_tests_are_registered)
  if(AFTERIMAGE_COMPONENTS OR NOT AFTERIMAGE_WITH_TORCH)
    return()
  endif()
  get_property(registered GLOBAL PROPERTY AFTERIMAGE_TEST_SOURCES)
  string(REPLACE ";" "\n" registered "${registered}")
  file(WRITE "${CMAKE_BINARY_DIR}/test_sources.txt" "${registered}\n")
  add_test(NAME all_tests_are_registered
    COMMAND "${CMAKE_COMMAND}" "-DFOLDER=${CMAKE_CURRENT_SOURCE_DIR}"
            "-DREGISTERED=${CMAKE_BINARY_DIR}/test_sources.txt"
            -P "${CMAKE_SOURCE_DIR}/cmake/check_tests_are_registered.cmake")
  set_tests_properties(all_tests_are_registered PROPERTIES LABELS fast)
endfunction()
