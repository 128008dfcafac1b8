// Prometheus' text format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace afterimage {

// Not thread-safe.
class PrometheusText {
 public:
  using Labels = std::vector<std::pair<absl::string_view, absl::string_view>>;

  // Begins a family; `type` is counter, gauge or histogram. Its samples follow.
  void Family(absl::string_view name, absl::string_view type, absl::string_view help);
  void Sample(absl::string_view name, const Labels& labels, double value);
  // A family with one sample without labels.
  void Single(absl::string_view name, absl::string_view type, absl::string_view help, double value);

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace afterimage
