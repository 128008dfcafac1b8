#include "trainer/optim/loss_scaler.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

at::Tensor LossScaler::Scaled(const at::Tensor& loss) const { return loss * scale_; }

bool LossScaler::Unscale(const ParameterMap& parameters) const {
  c10::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  if (gradients.empty()) return true;
  const at::TensorOptions one_float = gradients[0].options().dtype(at::kFloat);
  at::Tensor found = at::zeros({1}, one_float);
  at::_amp_foreach_non_finite_check_and_unscale_(gradients, found, at::full({1}, 1.0 / scale_, one_float));
  return found.item<float>() == 0;
}

void LossScaler::Update(bool finite) {
  if (!finite) {
    scale_ *= kBackoff;
    num_clean_ = 0;
    ++num_skipped_;
  } else if (++num_clean_ == kGrowthInterval) {
    if (scale_ < kMostScale) scale_ *= kGrowth;
    num_clean_ = 0;
  }
}

std::string LossScaler::Serialize() const {
  return Json{{"scale", DecimalText(scale_)}, {"clean", num_clean_}, {"skipped", num_skipped_}}.dump();
}

absl::StatusOr<LossScaler> LossScaler::Parse(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  const auto is_count = [&json](const char* key) { return json.value(key, Json()).is_number_unsigned(); };
  if (!json.is_object() || !json.value("scale", Json()).is_string() || !is_count("clean") ||
      !is_count("skipped")) {
    return absl::InvalidArgumentError(absl::StrCat("no loss scale: ", text));
  }
  LossScaler scaler;
  const absl::StatusOr<double> scale = ParseDecimal(json["scale"].get<std::string>());
  if (!scale.ok()) return scale.status();
  if (!(*scale > 0)) return absl::InvalidArgumentError(absl::StrCat("no loss scale: ", text));
  scaler.scale_ = *scale;
  scaler.num_clean_ = json["clean"].get<uint64_t>();
  scaler.num_skipped_ = json["skipped"].get<uint64_t>();
  return scaler;
}

}  // namespace afterimage::trainer
