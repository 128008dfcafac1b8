// The one text form of a spec, so that its hash is an identity.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/digest.h"

namespace afterimage {

// Objects keep their keys sorted (nlohmann's default std::map).
using Json = nlohmann::json;

// Canonical text: sorted keys, no white space, ASCII only (\u escapes), integers as integers, ratios as [num,
// den], every other number as a shortest round-trip decimal *string*. InvalidArgument if a float value, null,
// or invalid UTF-8 is in it.
absl::StatusOr<std::string> CanonicalText(const Json& spec);

// SHA-256 of CanonicalText. The spec must be canonical (checked: a broken invariant of ours ends the
// process).
Digest256 CanonicalDigest(const Json& spec);

// Parses canonical text; InvalidArgument unless `text` is exactly the canonical form of what it says.
absl::StatusOr<Json> ParseCanonical(absl::string_view text);

// A double as its shortest round-trip decimal, e.g. "1e-05", "0.485"; independent of the locale.
std::string DecimalText(double value);
absl::StatusOr<double> ParseDecimal(absl::string_view text);

// Typed access to a spec object's fields; the errors name the key. InvalidArgument when absent or of another
// type.
absl::StatusOr<int64_t> IntegerField(const Json& object, absl::string_view key);
absl::StatusOr<std::string> TextField(const Json& object, absl::string_view key);
// InvalidArgument names a key of `object` that is not in `allowed`.
absl::Status RefuseUnknownKeys(const Json& object, std::initializer_list<absl::string_view> allowed);

}  // namespace afterimage
