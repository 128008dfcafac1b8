#include "trainer/checkpoint/same_config.h"

#include <cstdio>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace afterimage::trainer {
namespace {

// What runs did before there was a key for it: checkpoints from then lack these.
const Json& BeforeTheKey() {
  static const auto* const values =
      new Json{{"accumulate", 1}, {"clip_grad", "0"}, {"ema", "0"}, {"precision", "f32"}};
  return *values;
}

}  // namespace

absl::Status CheckSameConfig(const std::string& before, const Json& now) {
  const Json old = Json::parse(before, nullptr, /*allow_exceptions=*/false);
  if (!old.is_object()) return absl::DataLossError("the configuration is no JSON object");
  std::set<std::string> keys;
  for (const Json* const config : {&old, &now}) {
    for (const auto& [key, unused] : config->items()) keys.insert(key);
  }
  const auto text = [](const Json& config, const std::string& key) -> std::string {
    if (config.contains(key)) return config[key].dump();
    return BeforeTheKey().contains(key) ? BeforeTheKey()[key].dump() : "absent";
  };
  std::vector<std::string> differences;
  for (const std::string& key : keys) {
    if (text(old, key) == text(now, key)) continue;
    differences.push_back(absl::StrCat("\"", key, "\": ", text(old, key), ", this run ", text(now, key)));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the checkpoint has another configuration: ", absl::StrJoin(differences, "; "), kOtherRunRemedy));
}

void WarnOfOther(const std::map<std::string, std::string>& values, const char* what, const std::string& now) {
  const auto value = values.find(what);
  const std::string before = value == values.end() ? "1" : value->second;
  if (before == now) return;
  std::fprintf(stderr,
               "warning: it was written with %s %s, this run has %s: losses will differ in the last bits\n",
               before.c_str(), what, now.c_str());
}

}  // namespace afterimage::trainer
