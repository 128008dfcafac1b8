#include "core/base/byte_size.h"

#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace afterimage {

absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && (absl::ascii_isdigit(text[digits]) || text[digits] == '.')) ++digits;
  double value = 0;
  const std::string unit = absl::AsciiStrToUpper(absl::StripAsciiWhitespace(text.substr(digits)));
  const std::string letters = "KMGTP";
  double factor = 1;
  bool known = unit.empty() || unit == "B";
  if (!unit.empty() && letters.find(unit[0]) != std::string::npos) {
    const int power = static_cast<int>(letters.find(unit[0])) + 1;
    const std::string rest = unit.substr(1);
    known = rest.empty() || rest == "B" || rest == "IB";
    factor = std::pow(rest == "IB" ? 1024.0 : 1000.0, power);
  }
  if (digits == 0 || !known || !absl::SimpleAtod(text.substr(0, digits), &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a size; write it like 1500, 20MB, 1.5TB or 64GiB"));
  }
  if (!(value * factor < 0x1p64)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is more than a size can be, 16 EiB"));
  }
  return static_cast<uint64_t>(value * factor);
}

}  // namespace afterimage
