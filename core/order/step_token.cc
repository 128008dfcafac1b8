#include "core/order/step_token.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "core/order/running_digest.h"

namespace afterimage {
namespace {

constexpr int64_t kTokenVersion = 1;

absl::StatusOr<uint64_t> CountField(const Json& object, absl::string_view key) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(object, key));
  if (value < 0) return absl::InvalidArgumentError(absl::StrCat(key, " is ", value, ", must not be negative"));
  return static_cast<uint64_t>(value);
}

// Absent where there is one teacher: then tokens are as they were before there could be several.
absl::StatusOr<std::vector<Digest256>> FurtherSetIds(const Json& json) {
  std::vector<Digest256> ids;
  const auto found = json.find("further_set_ids");
  if (found == json.end()) return ids;
  if (!found->is_array() || found->empty()) {
    return absl::InvalidArgumentError("further_set_ids is no list of set ids");
  }
  for (const Json& entry : *found) {
    if (!entry.is_string()) return absl::InvalidArgumentError("an entry of further_set_ids is no text");
    AFTERIMAGE_ASSIGN_OR_RETURN(ids.emplace_back(), Digest256::FromHex(entry.get<std::string>()));
  }
  return ids;
}

absl::StatusOr<StepToken> FromJson(const Json& json) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kTokenVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("version ", version, ", this program knows version ", kTokenVersion));
  }
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(json, {"version", "feature_id", "set_id", "order", "epoch", "next_step",
                                                      "global_batch", "running_digest", "further_set_ids"}));
  StepToken token;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string feature_id, TextField(json, "feature_id"));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.feature_id, Digest256::FromHex(feature_id));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string set_id, TextField(json, "set_id"));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.set_id, Digest256::FromHex(set_id));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.further_set_ids, FurtherSetIds(json));
  if (!json.contains("order")) return absl::InvalidArgumentError("order is absent");
  AFTERIMAGE_ASSIGN_OR_RETURN(token.order, OrderSpec::FromCanonical(json.at("order")));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.epoch, CountField(json, "epoch"));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.next_step, CountField(json, "next_step"));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.global_batch, CountField(json, "global_batch"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string running_digest, TextField(json, "running_digest"));
  AFTERIMAGE_ASSIGN_OR_RETURN(token.running_digest, Digest128::FromHex(running_digest));
  return token;
}

}  // namespace

Digest128 StepToken::StartDigest() const {
  return EpochStartDigest(set_id, order.Id(), epoch, further_set_ids);
}

std::string StepToken::Serialize() const {
  Json json{{"version", kTokenVersion},
                  {"feature_id", feature_id.Hex()},
                  {"set_id", set_id.Hex()},
                  {"order", order.ToCanonical()},
                  {"epoch", epoch},
                  {"next_step", next_step},
                  {"global_batch", global_batch},
                  {"running_digest", running_digest.Hex()}};
  for (const Digest256& id : further_set_ids) json["further_set_ids"].push_back(id.Hex());
  absl::StatusOr<std::string> text = CanonicalText(json);
  if (!text.ok()) std::abort();  // integers and hexadecimal text only
  return *std::move(text);
}

absl::StatusOr<StepToken> StepToken::Parse(absl::string_view text) {
  absl::StatusOr<Json> json = ParseCanonical(text);
  if (!json.ok()) return WithContext(json.status(), "step token");
  absl::StatusOr<StepToken> token = FromJson(*json);
  if (!token.ok()) return WithContext(token.status(), "step token");
  return token;
}

}  // namespace afterimage
