// What codecs cost and lost with a profile, as whoever calibrated measured it: kept beside the profile,
// outside of its digest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/feature/codec.h"

namespace afterimage {

// Of one codec at one level. Numbers are finite and not negative, but for the cosine in -1..1.
struct CodecFigures {
  Codec codec = Codec::kF32;
  uint32_t level = 0;
  double bytes_per_value = 0;  // planes and exceptions
  double rmse = 0;
  double largest_error = 0;
  double worst_cosine = 1;  // of any token, with what comes back of it

  bool operator==(const CodecFigures&) const = default;
};

struct ProfileFigures {
  uint64_t num_records = 0;        // that were measured
  std::vector<CodecFigures> rows;  // ascending by the codec's number, then by level, no two alike

  bool empty() const { return rows.empty(); }
  bool operator==(const ProfileFigures&) const = default;
};

// InvalidArgument: rows not ascending, an unknown codec, a number out of range, rows but no record.
absl::Status CheckFigures(const ProfileFigures& figures);

// The bytes behind a profile's digest, with a checksum of their own (docs/profile_format.md); none without
// rows.
std::string SerializeFigures(const ProfileFigures& figures);
// DataLoss: bytes that are not exactly one such piece.
absl::StatusOr<ProfileFigures> ParseFigures(ByteSpan bytes);

}  // namespace afterimage
