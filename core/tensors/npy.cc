#include "core/tensors/npy.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace afterimage {
namespace {

constexpr char kMagic[] = "\x93NUMPY";
constexpr size_t kMagicBytes = 6;

// What stands after 'key': in the header, a Python literal.
absl::string_view FieldOf(absl::string_view header, absl::string_view key) {
  const size_t at = header.find(absl::StrCat("'", key, "':"));
  if (at == absl::string_view::npos) return "";
  return absl::StripLeadingAsciiWhitespace(header.substr(at + key.size() + 3));
}

}  // namespace

absl::StatusOr<TensorView> ParseNpy(ByteSpan content, const std::string& path) {
  const auto damaged = [&](const auto&... parts) {
    return absl::DataLossError(absl::StrCat(path, ": ", parts...));
  };
  if (content.size() < kMagicBytes + 4 || std::memcmp(content.data(), kMagic, kMagicBytes) != 0)
    return damaged("no .npy file");
  const uint8_t version = content[kMagicBytes];
  if (version < 1 || version > 3)
    return damaged(".npy format version ", version, ", this program reads 1 to 3");
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t header_at = kMagicBytes + 2 + length_bytes;
  if (content.size() < header_at) return damaged("the header is cut");
  const size_t length = version == 1 ? LoadLittleEndian<uint16_t>(content.data() + kMagicBytes + 2)
                                     : LoadLittleEndian<uint32_t>(content.data() + kMagicBytes + 2);
  if (length > content.size() - header_at) return damaged("a header of ", length, " bytes is cut");
  const absl::string_view header(reinterpret_cast<const char*>(content.data()) + header_at, length);

  TensorView tensor;
  const absl::string_view type = FieldOf(header, "descr");
  const std::pair<absl::string_view, TensorType> kTypes[] = {{"'<f2'", TensorType::kF16},
                                                             {"'<f4'", TensorType::kF32},
                                                             {"'<f8'", TensorType::kF64},
                                                             {"'|u1'", TensorType::kU8},
                                                             {"'<i4'", TensorType::kI32}};
  const auto known = std::ranges::find_if(
      kTypes, [&](const auto& one) { return type.substr(0, one.first.size()) == one.first; });
  if (known == std::end(kTypes)) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": numbers of type ", type.substr(0, 8), "; known are <f2, <f4, <f8, |u1, <i4"));
  }
  tensor.type = known->second;
  if (FieldOf(header, "fortran_order").substr(0, 5) != "False") {
    return absl::UnimplementedError(
        absl::StrCat(path, " is column-major: save numpy.ascontiguousarray(…) of it"));
  }
  absl::string_view shape = FieldOf(header, "shape");
  if (!absl::ConsumePrefix(&shape, "(") || shape.find(')') == absl::string_view::npos)
    return damaged("the header has no shape");
  uint64_t count = 1;
  for (absl::string_view part : absl::StrSplit(shape.substr(0, shape.find(')')), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    int64_t size = 0;
    if (!absl::SimpleAtoi(part, &size) || size < 0) return damaged("the header's shape has ", part);
    if (size != 0 && count > content.size() / static_cast<uint64_t>(size))
      return damaged("the shape does not fit ", content.size(), " bytes");
    count *= static_cast<uint64_t>(size);
    tensor.shape.push_back(size);
  }
  tensor.data = content.subspan(header_at + length);
  if (tensor.data.size() != count * TensorTypeBytes(tensor.type)) {
    return damaged(tensor.data.size(), " bytes for ", count, " numbers of ", TensorTypeName(tensor.type));
  }
  return tensor;
}

}  // namespace afterimage
