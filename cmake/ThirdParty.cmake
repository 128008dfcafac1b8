# Debian's libraries as targets. What DEPENDS and PRIVATE_DEPENDS may name:
#   absl::status absl::statusor absl::strings absl::time absl::flat_hash_map … , OpenSSL::Crypto, OpenSSL::SSL, Threads::Threads,
#   Eigen3::Eigen, CLI11::CLI11, nlohmann_json::nlohmann_json, ZLIB::ZLIB, protobuf::libprotobuf, gRPC::grpc++,
#   RocksDB::rocksdb-shared, and, from pkg-config: PkgConfig::turbojpeg PkgConfig::jpeg PkgConfig::spng
#   PkgConfig::webp PkgConfig::zstd PkgConfig::xxhash PkgConfig::isal PkgConfig::microhttpd

set(THREADS_PREFER_PTHREAD_FLAG OFF)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)
find_package(ZLIB REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Protobuf MODULE REQUIRED)  # Debian's protobuf has no CMake config
find_package(gRPC CONFIG REQUIRED)
find_package(RocksDB CONFIG REQUIRED)
find_package(Eigen3 CONFIG REQUIRED NO_MODULE)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)

find_package(PkgConfig REQUIRED)
# The prefix keeps pkg-config's variables apart from those of the find modules that RocksDB's config brings.
foreach(module IN ITEMS turbojpeg:libturbojpeg jpeg:libjpeg spng:spng webp:libwebp zstd:libzstd xxhash:libxxhash
    isal:libisal microhttpd:libmicrohttpd)
  string(REPLACE ":" ";" module "${module}")
  list(POP_FRONT module name)
  pkg_check_modules(pc_${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  add_library(PkgConfig::${name} ALIAS PkgConfig::pc_${name})
endforeach()
