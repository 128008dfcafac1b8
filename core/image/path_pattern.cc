#include "core/image/path_pattern.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "core/base/status_macros.h"

namespace afterimage::image_internal {
namespace {

constexpr size_t kMaxPaths = 1000000;

bool HasGlob(const std::string& path) { return path.find_first_of("*?[") != std::string::npos; }

absl::Status TooMany(const std::string& pattern) {
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern ", pattern, " stands for more than ", kMaxPaths, " paths"));
}

// What stands between the braces, as the texts that replace it.
absl::StatusOr<std::vector<std::string>> Alternatives(const std::string& body, const std::string& pattern) {
  const size_t dots = body.find("..");
  if (dots == std::string::npos) return absl::StrSplit(body, ',');
  const std::string first_text = body.substr(0, dots), last_text = body.substr(dots + 2);
  uint64_t first = 0, last = 0;
  if (!absl::SimpleAtoi(first_text, &first) || !absl::SimpleAtoi(last_text, &last) || first > last) {
    return absl::InvalidArgumentError(
        absl::StrCat("{", body, "} in ", pattern, " is not a range of numbers such as {000..004}"));
  }
  if (last - first >= kMaxPaths) return TooMany(pattern);
  std::vector<std::string> result;
  for (uint64_t number = first; number <= last; ++number) {
    result.push_back(absl::StrFormat("%0*d", static_cast<int>(first_text.size()), number));
  }
  return result;
}

absl::StatusOr<std::vector<std::string>> ExpandBraces(const std::string& pattern) {
  std::vector<std::string> expanded = {""};
  size_t offset = 0;
  while (true) {
    const size_t open = pattern.find('{', offset);
    const std::string literal = pattern.substr(offset, open == std::string::npos ? open : open - offset);
    for (std::string& path : expanded) path += literal;
    if (open == std::string::npos) return expanded;
    const size_t close = pattern.find('}', open);
    if (close == std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("the pattern ", pattern, " has a { without a }"));
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> alternatives,
                                Alternatives(pattern.substr(open + 1, close - open - 1), pattern));
    if (expanded.size() * alternatives.size() > kMaxPaths) return TooMany(pattern);
    std::vector<std::string> longer;
    for (const std::string& path : expanded) {
      for (const std::string& alternative : alternatives) longer.push_back(path + alternative);
    }
    expanded = std::move(longer);
    offset = close + 1;
  }
}

absl::Status AppendGlob(const std::string& pattern, std::vector<std::string>& paths) {
  glob_t matches{};
  const int error = glob(pattern.c_str(), GLOB_ERR, nullptr, &matches);
  for (size_t i = 0; error == 0 && i < matches.gl_pathc; ++i) paths.emplace_back(matches.gl_pathv[i]);
  globfree(&matches);
  if (error == GLOB_NOMATCH)
    return absl::NotFoundError(absl::StrCat("no file matches the pattern ", pattern));
  if (error != 0)
    return absl::PermissionDeniedError(absl::StrCat("cannot read a folder of the pattern ", pattern));
  return absl::OkStatus();
}

}  // namespace

bool IsPathPattern(const std::string& path) { return path.find('{') != std::string::npos || HasGlob(path); }

absl::StatusOr<std::vector<std::string>> ExpandPathPattern(const std::string& pattern) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> expanded, ExpandBraces(pattern));
  std::vector<std::string> paths;
  for (const std::string& path : expanded) {
    std::error_code error;
    if (HasGlob(path)) {
      AFTERIMAGE_RETURN_IF_ERROR(AppendGlob(path, paths));
    } else if (std::filesystem::exists(path, error)) {
      paths.push_back(path);
    } else {
      return absl::NotFoundError(absl::StrCat("there is no ", path, " (one of the pattern ", pattern, ")"));
    }
  }
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

}  // namespace afterimage::image_internal
