#include "core/image/tar_index.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/status_macros.h"

namespace afterimage::image_internal {
namespace {

// POSIX.1-1988 ustar: where each field begins and how long it is.
struct Field {
  size_t offset;
  size_t length;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kMagic{257, 5}, kPrefix{345, 155};
constexpr size_t kTypeOffset = 156;
// Long names and pax records are small; a bigger one is a damaged size.
constexpr uint64_t kMaxMetadataBytes = 1 << 20;

// A text field ends at its first NUL, or fills its space.
absl::string_view Text(const std::string& block, Field field) {
  const absl::string_view text(block.data() + field.offset, field.length);
  return text.substr(0, text.find('\0'));
}

std::optional<uint64_t> Octal(absl::string_view text) {
  uint64_t value = 0;
  bool digits = false;
  for (const char c : text) {
    if (c == ' ' && !digits) continue;
    if (c == ' ' || c == '\0') break;
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(c - '0');
    digits = true;
  }
  return digits ? std::optional(value) : std::nullopt;
}

// Octal, or base 256 where the first bit is set (GNU tar, above 8 GiB).
std::optional<uint64_t> Number(const std::string& block, Field field) {
  const absl::string_view text(block.data() + field.offset, field.length);
  const auto first = static_cast<uint8_t>(text[0]);
  if ((first & 0x80) == 0) return Octal(text);
  uint64_t value = first & 0x7f;
  for (const char c : text.substr(1)) {
    if (value >> 55 != 0) return std::nullopt;  // negative (0xff…), or beyond any file
    value = value << 8 | static_cast<uint8_t>(c);
  }
  return value;
}

bool IsZero(const std::string& block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

// What a pax header or GNU long name says about the member behind it.
struct Overrides {
  std::optional<std::string> name;
  std::optional<uint64_t> size_bytes;
};

// Records "<length> <key>=<value>\n", the length counting itself.
absl::Status ParsePax(absl::string_view records, Overrides& overrides) {
  while (!records.empty()) {
    const size_t space = records.find(' ');
    uint64_t length = 0;
    if (space == absl::string_view::npos || !absl::SimpleAtoi(records.substr(0, space), &length) ||
        length > records.size() || length < space + 2 || records[length - 1] != '\n') {
      return absl::DataLossError("damaged pax header");
    }
    const absl::string_view record = records.substr(space + 1, length - space - 2);
    const size_t equals = record.find('=');
    if (equals == absl::string_view::npos) return absl::DataLossError("damaged pax header");
    const absl::string_view key = record.substr(0, equals), value = record.substr(equals + 1);
    if (key == "path") overrides.name = std::string(value);
    if (key == "size") {
      uint64_t size = 0;
      if (!absl::SimpleAtoi(value, &size)) return absl::DataLossError("damaged size in a pax header");
      overrides.size_bytes = size;
    }
    if (absl::StartsWith(key, "GNU.sparse."))
      return absl::InvalidArgumentError("sparse members are not supported");
    records.remove_prefix(length);
  }
  return absl::OkStatus();
}

std::string MemberName(const std::string& header) {
  const absl::string_view name = Text(header, kName);
  if (Text(header, kMagic) != "ustar" || header[kMagic.offset + 5] != '\0')
    return std::string(name);  // v7, GNU: no prefix
  const absl::string_view prefix = Text(header, kPrefix);
  return prefix.empty() ? std::string(name) : absl::StrCat(prefix, "/", name);
}

// Walks one archive.
class TarWalk {
 public:
  explicit TarWalk(const RandomAccessFile& file) : file_(file) {}

  absl::StatusOr<std::vector<TarMember>> Run() {
    while (true) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const bool more, Next());
      if (!more) return std::move(members_);
    }
  }

 private:
  // False at the end-of-archive block.
  absl::StatusOr<bool> Next() {
    if (offset_ == file_.size_bytes()) {
      return absl::DataLossError(absl::StrCat(file_.path(), " is cut short at offset ", offset_,
                                              ": the archive does not end with its end-of-archive block"));
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string header, file_.ReadAt(offset_, kTarBlockBytes));
    if (IsZero(header)) return false;
    if (!IsTarHeader(header)) return Damaged("no tar header");
    std::optional<uint64_t> size = Number(header, kSize);
    if (!size) return Damaged("a tar header with a damaged size");
    const char type = header[kTypeOffset];
    const bool is_metadata = type == 'L' || type == 'K' || type == 'x' || type == 'g';
    if (!is_metadata && overrides_.size_bytes) size = overrides_.size_bytes;
    const uint64_t data = offset_ + kTarBlockBytes;
    if (*size > file_.size_bytes() - data) {
      return absl::DataLossError(absl::StrCat(file_.path(), " is cut short: the member ", MemberName(header),
                                              " at offset ", offset_, " has ", *size,
                                              " bytes, the file ends after ", file_.size_bytes() - data));
    }
    if (is_metadata) {
      AFTERIMAGE_RETURN_IF_ERROR(ReadMetadata(type, data, *size));
    } else {
      if (type == 'S') return Unsupported("sparse members are not supported");
      if (type == '0' || type == '\0' || type == '7') {
        members_.push_back({overrides_.name.value_or(MemberName(header)), data, *size});
      }
      overrides_ = {};
    }
    // The padding behind a last member may be missing where the archive was cut: the next header read says
    // so.
    offset_ =
        std::min(data + (*size + kTarBlockBytes - 1) / kTarBlockBytes * kTarBlockBytes, file_.size_bytes());
    return true;
  }

  absl::Status ReadMetadata(char type, uint64_t data, uint64_t size) {
    if (type == 'K' || type == 'g')
      return absl::OkStatus();  // a link's target; defaults, of which none concerns us
    if (size > kMaxMetadataBytes) return Damaged("a name of more than 1 MiB");
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string content, file_.ReadAt(data, size));
    if (type == 'L') {
      overrides_.name = content.substr(0, content.find('\0'));
      return absl::OkStatus();
    }
    return WithContext(ParsePax(content, overrides_), absl::StrCat(file_.path(), " at offset ", offset_));
  }

  absl::Status Damaged(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat(file_.path(), " is damaged: ", what, " at offset ", offset_));
  }
  absl::Status Unsupported(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), " at offset ", offset_, ": ", what));
  }

  const RandomAccessFile& file_;
  uint64_t offset_ = 0;
  Overrides overrides_;
  std::vector<TarMember> members_;
};

}  // namespace

bool IsTarHeader(const std::string& block) {
  if (block.size() < kTarBlockBytes) return false;
  const std::optional<uint64_t> expected =
      Octal(absl::string_view(block.data() + kChecksum.offset, kChecksum.length));
  uint64_t sum = 0;
  for (size_t i = 0; i < kTarBlockBytes; ++i) {
    const bool in_checksum = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.length;
    sum += in_checksum ? uint64_t{' '} : static_cast<uint8_t>(block[i]);
  }
  return expected && *expected == sum;
}

absl::StatusOr<std::vector<TarMember>> ReadTarIndex(const RandomAccessFile& file) {
  return TarWalk(file).Run();
}

}  // namespace afterimage::image_internal
