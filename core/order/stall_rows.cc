#include "core/order/stall_rows.h"

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

std::optional<StallPart> PartNamed(const std::string& name) {
  for (size_t i = 0; i < kNumStallParts; ++i) {
    const auto part = static_cast<StallPart>(i);
    if (name == StallPartName(part)) return part;
  }
  return std::nullopt;
}

absl::StatusOr<StallRow> RowFromJson(const Json& json) {
  StallRow row;
  if (!json.is_object()) return absl::InvalidArgumentError("a row of the stall ledger is no object");
  for (const auto& [name, value] : json.items()) {
    if (name == "rank" && value.is_number_unsigned()) {
      row.rank = value.get<uint32_t>();
    } else if (name == "server" && value.is_string()) {
      row.server = value.get<std::string>();
    } else if (const auto part = PartNamed(name); part.has_value() && value.is_number()) {
      row.times[*part] = absl::Seconds(value.get<double>());
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("a row of the stall ledger has \"", name, "\": ", value.dump()));
    }
  }
  return row;
}

}  // namespace

void AppendStallRows(uint32_t rank, const Stall& stall, std::span<const std::string> servers,
                     std::vector<StallRow>& rows) {
  for (size_t i = 0; i < stall.rows().size(); ++i) {
    if (stall.rows()[i].Total() <= absl::ZeroDuration()) continue;
    std::string server;
    if (i > 0) server = i <= servers.size() ? servers[i - 1] : absl::StrCat("server ", i - 1);
    rows.push_back({rank, std::move(server), stall.rows()[i]});
  }
}

Json ToJson(std::span<const StallRow> rows) {
  Json json = Json::array();
  for (const StallRow& row : rows) {
    Json object = Json::object();
    for (size_t i = 0; i < kNumStallParts; ++i) {
      const auto part = static_cast<StallPart>(i);
      const double micros = std::round(absl::ToDoubleMicroseconds(row.times[part]));
      if (micros > 0) object[StallPartName(part)] = micros / 1e6;
    }
    if (object.empty()) continue;
    object["rank"] = row.rank;
    if (!row.server.empty()) object["server"] = row.server;
    json.push_back(std::move(object));
  }
  return json;
}

absl::StatusOr<std::vector<StallRow>> StallRowsFromJson(const Json& json) {
  if (!json.is_array()) return absl::InvalidArgumentError("the stall ledger is no list of rows");
  std::vector<StallRow> rows;
  for (const Json& one : json) {
    absl::StatusOr<StallRow> row = RowFromJson(one);
    if (!row.ok()) return row.status();
    rows.push_back(*std::move(row));
  }
  return rows;
}

}  // namespace afterimage
