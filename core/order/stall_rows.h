// The stall ledger as it is written down, in metrics.jsonl and by `afterimage stream-bench --json`.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"
#include "core/order/stall.h"

namespace afterimage {

// What one rank waited for, of one server or of none.
struct StallRow {
  uint32_t rank = 0;
  std::string server;  // its address; empty: no server has a part in it
  StallTimes times;
};

// Appends the rows of a rank; `servers` are the addresses by number.
void AppendStallRows(uint32_t rank, const Stall& stall, std::span<const std::string> servers,
                     std::vector<StallRow>& rows);

// [{"rank":0,"server":"grpc://a:1","disk":0.0125,"wire":0.003},{"rank":0,"decode":0.001}]: seconds, to the
// microsecond; what is shorter is left out, and so are rows of nothing else.
Json ToJson(std::span<const StallRow> rows);
// InvalidArgument: it is not of this form; names that are not known are errors.
absl::StatusOr<std::vector<StallRow>> StallRowsFromJson(const Json& json);

}  // namespace afterimage
