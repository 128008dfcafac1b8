// The stall ledger for people.
#pragma once

#include <map>
#include <string>

#include "core/identity/canonical_spec.h"
#include "core/order/stall_rows.h"

namespace afterimage::cli {

// Some time, and what of it was spent waiting for data.
struct StallReport {
  double seconds = 0;
  std::map<std::string, StallTimes> servers;  // by address; "": no server had a part in it

  void Add(const StallRow& row) { servers[row.server] += row.times; }
  StallTimes Parts() const;  // of all servers together
  double wait_seconds() const;
  double wait_share() const { return seconds > 0 ? wait_seconds() / seconds : 0; }
};

// The part, of one server or of none, that was waited for the longest.
struct LargestStall {
  StallPart part = StallPart::kDecode;
  std::string server;
  double share_of_wait = 0;  // 0: there was no wait
};
LargestStall LargestOf(const StallReport& report);

// "waited 12.0 % of their time for data, mostly (71 % of it) for the disk of the server at grpc://a:1"
std::string WaitText(const StallReport& report);
// What helps against it, as an order: "give that server more --reader-threads, …".
std::string RemedyFor(const LargestStall& largest);
// A line of titles, one per server, and one of all; in percent of the time. Each ends with a newline.
std::string StallTable(const StallReport& report);
// {"seconds":…,"wait_s":…,"wait_share":…,"parts":{"disk":…},"servers":{"grpc://a:1":{…}},"here":{…}}
Json ToJson(const StallReport& report);

}  // namespace afterimage::cli
