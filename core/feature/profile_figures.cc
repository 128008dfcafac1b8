#include "core/feature/profile_figures.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"

namespace afterimage {
namespace {

constexpr char kMagic[] = "AFTIFIGS";

// Offsets (docs/profile_format.md).
constexpr size_t kNumRowsAt = 8;
constexpr size_t kReservedAt = 12;
constexpr size_t kNumRecordsAt = 16;
constexpr size_t kHeadBytes = 24;
constexpr size_t kRowBytes = 40;  // codec and three zeros, level, four numbers
constexpr size_t kChecksumBytes = 8;

bool IsKnown(Codec codec) {
  return std::ranges::find(kAllCodecs, codec) != std::end(kAllCodecs) || IsStepCodec(codec);
}

std::pair<uint8_t, uint32_t> OrderOf(const CodecFigures& row) {
  return {static_cast<uint8_t>(row.codec), row.level};
}

double LoadDouble(const uint8_t* at) {
  double value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

template <typename... Parts>
absl::Status Damaged(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("profile: figures: ", parts...));
}

}  // namespace

absl::Status CheckFigures(const ProfileFigures& figures) {
  const auto refuse = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("profile: figures: ", parts...));
  };
  if ((figures.num_records == 0) != figures.rows.empty()) {
    return refuse(figures.rows.size(), " rows of ", figures.num_records, " records");
  }
  for (size_t i = 0; i < figures.rows.size(); ++i) {
    const CodecFigures& row = figures.rows[i];
    if (!IsKnown(row.codec)) return refuse("unknown codec ", static_cast<int>(row.codec));
    if (i > 0 && OrderOf(row) <= OrderOf(figures.rows[i - 1])) return refuse("row ", i, " is out of order");
    const double numbers[] = {row.bytes_per_value, row.rmse, row.largest_error};
    const bool fits = std::ranges::all_of(numbers, [](double n) { return std::isfinite(n) && n >= 0; });
    // A little beyond 1: a cosine is a quotient of sums.
    if (!fits || !(std::abs(row.worst_cosine) <= 1.0001)) {
      return refuse(CodecName(row.codec), ", level ", row.level, ": ", row.bytes_per_value, " bytes, RMSE ",
                    row.rmse, ", largest error ", row.largest_error, ", cosine ", row.worst_cosine);
    }
  }
  return absl::OkStatus();
}

std::string SerializeFigures(const ProfileFigures& figures) {
  if (figures.empty()) return {};
  std::string bytes(kMagic, kNumRowsAt);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(figures.rows.size()), bytes);
  AppendLittleEndian<uint32_t>(0, bytes);
  AppendLittleEndian<uint64_t>(figures.num_records, bytes);
  for (const CodecFigures& row : figures.rows) {
    AppendLittleEndian<uint32_t>(static_cast<uint8_t>(row.codec), bytes);
    AppendLittleEndian<uint32_t>(row.level, bytes);
    for (const double number : {row.bytes_per_value, row.rmse, row.largest_error, row.worst_cosine})
      bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  AppendLittleEndian<uint64_t>(Xxh3_64(AsBytes(bytes)), bytes);
  return bytes;
}

absl::StatusOr<ProfileFigures> ParseFigures(ByteSpan bytes) {
  if (bytes.size() < kHeadBytes + kChecksumBytes || std::memcmp(bytes.data(), kMagic, kNumRowsAt) != 0) {
    return Damaged(bytes.size(), " bytes behind the digest are none");
  }
  const uint32_t num_rows = LoadLittleEndian<uint32_t>(bytes.data() + kNumRowsAt);
  if (bytes.size() != kHeadBytes + uint64_t{num_rows} * kRowBytes + kChecksumBytes) {
    return Damaged(bytes.size(), " bytes do not hold exactly ", num_rows, " rows");
  }
  const ByteSpan body = bytes.first(bytes.size() - kChecksumBytes);
  if (Xxh3_64(body) != LoadLittleEndian<uint64_t>(bytes.data() + body.size())) {
    return Damaged("the checksum does not fit");
  }
  if (LoadLittleEndian<uint32_t>(body.data() + kReservedAt) != 0 || num_rows == 0)
    return Damaged(num_rows, " rows, or a reserved field is not zero");
  ProfileFigures figures;
  figures.num_records = LoadLittleEndian<uint64_t>(body.data() + kNumRecordsAt);
  const uint8_t* at = body.data() + kHeadBytes;
  for (uint32_t i = 0; i < num_rows; ++i, at += kRowBytes) {
    const uint32_t codec = LoadLittleEndian<uint32_t>(at);
    if (codec > 0xff) return Damaged("unknown codec ", codec);
    figures.rows.push_back({.codec = static_cast<Codec>(codec),
                            .level = LoadLittleEndian<uint32_t>(at + 4),
                            .bytes_per_value = LoadDouble(at + 8),
                            .rmse = LoadDouble(at + 16),
                            .largest_error = LoadDouble(at + 24),
                            .worst_cosine = LoadDouble(at + 32)});
  }
  if (const absl::Status checked = CheckFigures(figures); !checked.ok())
    return absl::DataLossError(checked.message());
  return figures;
}

}  // namespace afterimage
