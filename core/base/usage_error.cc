#include "core/base/usage_error.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace afterimage {
namespace {

// Insertions, deletions, exchanges of a letter, and of two neighbours (optimal string alignment).
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  std::iota(rows[0].begin(), rows[0].end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    rows[i][0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      rows[i][j] =
          std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

}  // namespace

std::string NearestName(const std::string& word, const std::vector<std::string>& names) {
  std::string nearest;
  size_t least = std::min<size_t>(3, std::max<size_t>(1, word.size() / 3)) + 1;
  for (const std::string& name : names) {
    if (const size_t distance = Distance(word, name); distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

std::string UnknownWordText(const std::string& command, const std::string& word,
                            const std::vector<std::string>& flags,
                            const std::vector<std::string>& subcommands) {
  const bool is_flag = absl::StartsWith(word, "-");
  const char* const kind = is_flag ? "flag" : subcommands.empty() ? "argument" : "command";
  std::string text = absl::StrCat(command, ": unknown ", kind, " \"", word, "\"");
  const std::string nearest = NearestName(word.substr(0, word.find('=')), is_flag ? flags : subcommands);
  if (!nearest.empty()) absl::StrAppend(&text, "; did you mean \"", nearest, "\"?");
  if (!is_flag && !subcommands.empty())
    absl::StrAppend(&text, "; commands: ", absl::StrJoin(subcommands, ", "));
  return text;
}

std::string PlainRangeText(std::string text) {
  constexpr std::string_view kValue = "Value ", kRange = " not in range ", kTo = " to ";
  constexpr size_t kDigitsOfNoBound = 100;
  const size_t value = text.find(kValue), range = text.find(kRange);
  if (value == std::string::npos || range == std::string::npos || range < value) return text;
  const size_t high = text.find(kTo, range);
  if (high == std::string::npos || text.size() - high < kDigitsOfNoBound) return text;
  const std::string word = text.substr(value + kValue.size(), range - value - kValue.size());
  return absl::StrCat(text.substr(0, value), word, " is too small");
}

}  // namespace afterimage
