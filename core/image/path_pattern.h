// Paths with {000..004}, {a,b} and glob characters. Private to this room.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace afterimage::image_internal {

// Whether the path has a character that ExpandPathPattern would look at.
bool IsPathPattern(const std::string& path);

// The files that a pattern means, sorted as bytes and without repeats: braces first ({000..004} keeps the
// width of its first number, {a,b} lists; several braces multiply), then *, ? and [] against the file system.
// InvalidArgument: a brace without an end, or too many results; NotFound names what a brace stands for and is
// not there, or a glob that matches nothing.
absl::StatusOr<std::vector<std::string>> ExpandPathPattern(const std::string& pattern);

}  // namespace afterimage::image_internal
