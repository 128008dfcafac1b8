#include "trainer/run/best_epoch.h"

#include "absl/strings/str_cat.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

double BestEpoch::End(uint64_t step) {
  last_is_best_ = false;
  const double mean = num_samples_ > 0 ? sum_ / static_cast<double>(num_samples_) : 0;
  if (num_samples_ > 0 && (!best_step_.has_value() || mean < best_loss_)) {
    best_step_ = step;
    best_loss_ = mean;
    last_is_best_ = true;
  }
  sum_ = 0;
  num_samples_ = 0;
  return mean;
}

std::string BestEpoch::Serialize() const {
  Json json = {{"sum", DecimalText(sum_)}, {"samples", num_samples_}};
  if (best_step_.has_value()) {
    json["best_step"] = *best_step_;
    json["best_loss"] = DecimalText(best_loss_);
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
    if (!json["best_step"].is_number_unsigned() || !decimal("best_loss", epoch.best_loss_))
      return absl::InvalidArgumentError(absl::StrCat("no best epoch: ", text));
    epoch.best_step_ = json["best_step"].get<uint64_t>();
  }
  return epoch;
}

}  // namespace afterimage::trainer
