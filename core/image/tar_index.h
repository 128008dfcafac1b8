// Where the members of a tar file lie. Private to this room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/image/random_access_file.h"

namespace afterimage::image_internal {

inline constexpr uint64_t kTarBlockBytes = 512;

// A regular file in an archive; its bytes are [offset, offset + size_bytes) of the archive.
struct TarMember {
  std::string name;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

// Whether these bytes begin with a tar header (its checksum is right).
bool IsTarHeader(const std::string& block);

// Reads every header: ustar with prefix, GNU long names ('L'), pax paths and sizes ('x'), base-256 sizes.
// Folders, links and devices are left out. DataLoss, with file and offset, for a bad header, a member beyond
// the end of the file, or a file without the end-of-archive block (it was cut between two members);
// InvalidArgument for sparse members.
absl::StatusOr<std::vector<TarMember>> ReadTarIndex(const RandomAccessFile& file);

}  // namespace afterimage::image_internal
