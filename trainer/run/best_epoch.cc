#include "trainer/run/best_epoch.h"

#include "absl/strings/str_cat.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

double BestEpoch::End(uint64_t step) {
  const bool any = num_samples_ > 0;
  const double mean = any ? sum_ / static_cast<double>(num_samples_) : 0;
  if (any) EndWith(step, mean);
  return mean;
}

void BestEpoch::EndWith(uint64_t step, double cost) {
  if (!best_step_.has_value() || cost < best_cost_) {
    best_step_ = step;
    best_cost_ = cost;
  }
  sum_ = 0;
  num_samples_ = 0;
}

std::string BestEpoch::Serialize() const {
  Json json = {{"sum", DecimalText(sum_)}, {"samples", num_samples_}};
  if (best_step_.has_value()) {
    json["best_step"] = *best_step_;
    json["best_cost"] = DecimalText(best_cost_);
  }
  return json.dump();
}

absl::StatusOr<BestEpoch> BestEpoch::Parse(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  const auto decimal = [&json](const char* key, double& value) {
    if (!json.contains(key) || !json[key].is_string()) return false;
    const absl::StatusOr<double> parsed = ParseDecimal(json[key].get<std::string>());
    if (parsed.ok()) value = *parsed;
    return parsed.ok();
  };
  BestEpoch epoch;
  if (!json.is_object() || !decimal("sum", epoch.sum_) || !json.value("samples", Json()).is_number_unsigned())
    return absl::InvalidArgumentError(absl::StrCat("no mean of an epoch: ", text));
  epoch.num_samples_ = json["samples"].get<uint64_t>();
  if (json.contains("best_step")) {
    if (!json["best_step"].is_number_unsigned() || !decimal("best_cost", epoch.best_cost_))
      return absl::InvalidArgumentError(absl::StrCat("no best epoch: ", text));
    epoch.best_step_ = json["best_step"].get<uint64_t>();
  }
  return epoch;
}

}  // namespace afterimage::trainer
