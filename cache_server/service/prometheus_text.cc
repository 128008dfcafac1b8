#include "cache_server/service/prometheus_text.h"

#include <charconv>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace afterimage {

void PrometheusText::Family(absl::string_view name, absl::string_view type, absl::string_view help) {
  absl::StrAppend(&text_, "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n");
}

void PrometheusText::Sample(absl::string_view name, const Labels& labels, double value) {
  absl::StrAppend(&text_, name);
  const char* separator = "{";
  for (const auto& [label, text] : labels) {
    absl::StrAppend(&text_, separator, label, "=\"",
                    absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}), "\"");
    separator = ",";
  }
  if (!labels.empty()) absl::StrAppend(&text_, "}");
  char digits[32];  // the shortest that reads back as the same number
  const std::to_chars_result end = std::to_chars(std::begin(digits), std::end(digits), value);
  absl::StrAppend(&text_, " ", absl::string_view(digits, end.ptr - digits), "\n");
}

void PrometheusText::Single(absl::string_view name, absl::string_view type, absl::string_view help,
                            double value) {
  Family(name, type, help);
  Sample(name, {}, value);
}

}  // namespace afterimage
