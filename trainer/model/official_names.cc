#include "trainer/model/official_names.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace afterimage::trainer {

std::string OurParameterName(absl::string_view official, Head head) {
  if (official == "distill_weights") return "align.mix";
  absl::string_view rest = official;
  uint32_t index = 0;
  if (!absl::ConsumePrefix(&rest, "distill_heads.")) return std::string(official);
  const size_t dot = rest.find('.');
  if (dot == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, dot), &index))
    return std::string(official);
  std::string tail(rest.substr(dot));
  // Heads of several parts are an nn.Sequential, which numbers them.
  switch (head) {
    case Head::kLinear:
      break;
    case Head::kNormLinear:
      tail = absl::StrReplaceAll(tail, {{".0.", ".norm."}, {".1.", "."}});
      break;
    case Head::kMlp:
      tail = absl::StrReplaceAll(tail, {{".0.", ".fc1."}, {".2.", ".fc2."}});
      break;
    case Head::kMlp2:
      tail = absl::StrReplaceAll(tail, {{".0.", ".fc1."}, {".1.", ".norm."}, {".2.", ".fc2."}});
      break;
  }
  return absl::StrCat("align.heads.", index + 1, tail);
}

const std::vector<std::string>& OfficialTeacherPrefixes() {
  static const auto& prefixes = *new std::vector<std::string>{"clip_model.", "dino_model."};
  return prefixes;
}

}  // namespace afterimage::trainer
