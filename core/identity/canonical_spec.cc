#include "core/identity/canonical_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Specs are a few levels deep; the limit keeps hostile text from exhausting the stack.
constexpr int kMaxDepth = 32;

[[noreturn]] void EndProcess(absl::string_view what, absl::string_view why) {
  std::fprintf(stderr, "afterimage: broken invariant: %.*s: %.*s\n", static_cast<int>(what.size()),
               what.data(), static_cast<int>(why.size()), why.data());
  std::abort();
}

absl::Status CheckCanonical(const Json& value, const std::string& path, int depth) {
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(absl::StrCat("canonical spec: nested more than ", kMaxDepth, " deep"));
  }
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("canonical spec: ", path.empty() ? "the value" : path, " ", why));
  };
  switch (value.type()) {
    case Json::value_t::object:
      for (const auto& [key, member] : value.items()) {
        AFTERIMAGE_RETURN_IF_ERROR(CheckCanonical(member, path.empty() ? key : path + "." + key, depth + 1));
      }
      return absl::OkStatus();
    case Json::value_t::array:
      for (size_t i = 0; i < value.size(); ++i) {
        AFTERIMAGE_RETURN_IF_ERROR(CheckCanonical(value[i], absl::StrCat(path, "[", i, "]"), depth + 1));
      }
      return absl::OkStatus();
    case Json::value_t::string:
    case Json::value_t::boolean:
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return absl::OkStatus();
    case Json::value_t::number_float:
      return refuse("is a floating-point number; write a decimal string (DecimalText) or a ratio [num, den]");
    case Json::value_t::null:
      return refuse("is null; leave the key out");
    default:
      return refuse("is of a type that JSON does not have");
  }
}

}  // namespace

absl::StatusOr<std::string> CanonicalText(const Json& spec) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckCanonical(spec, "", 0));
  try {
    return spec.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/true,
                     Json::error_handler_t::strict);
  } catch (const Json::exception& error) {  // type_error.316: a string that is not UTF-8
    return absl::InvalidArgumentError(absl::StrCat("canonical spec: ", error.what()));
  }
}

Digest256 CanonicalDigest(const Json& spec) {
  absl::StatusOr<std::string> text = CanonicalText(spec);
  if (!text.ok()) EndProcess("the digest of a spec that is not canonical", text.status().message());
  return Sha256(AsBytes(*text));
}

absl::StatusOr<Json> ParseCanonical(absl::string_view text) {
  Json spec = Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (spec.is_discarded()) return absl::InvalidArgumentError("canonical spec: not JSON");
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string canonical, CanonicalText(spec));
  if (canonical != text) {
    const size_t common = std::min(canonical.size(), text.size());
    const size_t at =
        std::mismatch(canonical.begin(), canonical.begin() + common, text.begin()).first - canonical.begin();
    return absl::InvalidArgumentError(absl::StrCat(
        "canonical spec: the text is not in canonical form (sorted keys, no white space, ASCII) from byte ",
        at, " on"));
  }
  return spec;
}

std::string DecimalText(double value) {
  if (!std::isfinite(value)) EndProcess("a decimal", "the value is not finite");
  std::array<char, 32> buffer;  // the longest shortest form is 24 characters: -1.2345678901234567e-308
  const std::to_chars_result result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return std::string(buffer.data(), result.ptr);
}

absl::StatusOr<double> ParseDecimal(absl::string_view text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  if (text.empty() || result.ec != std::errc() || result.ptr != end || !std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a decimal number"));
  }
  return value;
}

absl::StatusOr<int64_t> IntegerField(const Json& object, absl::string_view key) {
  const auto field = object.find(std::string(key));
  if (field == object.end()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing"));
  const bool fits = field->is_number_unsigned()
                        ? field->get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                        : field->is_number_integer();
  if (!fits) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not a 64-bit integer"));
  return field->get<int64_t>();
}

absl::StatusOr<std::string> TextField(const Json& object, absl::string_view key) {
  const auto field = object.find(std::string(key));
  if (field == object.end()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing"));
  if (!field->is_string()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not a text"));
  return field->get<std::string>();
}

absl::Status RefuseUnknownKeys(const Json& object, std::initializer_list<absl::string_view> allowed) {
  if (!object.is_object()) return absl::InvalidArgumentError("expected a JSON object");
  for (const auto& [key, value] : object.items()) {
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown key \"", key, "\"; known are: ", absl::StrJoin(allowed, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace afterimage
