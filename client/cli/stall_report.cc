#include "client/cli/stall_report.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/open_cache.h"

namespace afterimage::cli {
namespace {

StallPart PartAt(size_t index) { return static_cast<StallPart>(index); }

// "for …".
std::string WhatIsAwaited(const LargestStall& stall) {
  const bool is_server = !stall.server.empty();
  const std::string server = absl::StrCat("the server at ", stall.server);
  switch (stall.part) {
    case StallPart::kDisk:
      return is_server ? absl::StrCat("the disk of ", server)
                       : "the disk under the cache folder, or under the pictures";
    case StallPart::kQueue:
      return is_server ? absl::StrCat(server, " to begin")
                       : "a reader to begin, an epoch to be opened, or a source that was away";
    case StallPart::kCredit:
      return absl::StrCat("credit that ", server, " did not have: it had sent all that it may");
    case StallPart::kWire:
      return absl::StrCat("the wire from ", server);
    case StallPart::kDecode:
      return "the reader itself: decoding, and its share of the processors";
    case StallPart::kOrder:
      return absl::StrCat(server, ", while others had sent all that they may, or for its replacement");
  }
  return "?";
}

Json PartsToJson(const StallTimes& times) {
  Json json = Json::object();
  for (size_t i = 0; i < kNumStallParts; ++i)
    json[StallPartName(PartAt(i))] = absl::ToDoubleSeconds(times[PartAt(i)]);
  return json;
}

std::string TableLine(const std::string& title, const StallTimes& times, double seconds) {
  const auto percent = [&](absl::Duration time) {
    return seconds > 0 ? 100 * absl::ToDoubleSeconds(time) / seconds : 0;
  };
  std::string line = absl::StrFormat("%-28s", title);
  for (size_t i = 0; i < kNumStallParts; ++i)
    absl::StrAppendFormat(&line, "%7.1f%%", percent(times[PartAt(i)]));
  absl::StrAppendFormat(&line, "%7.1f%%\n", percent(times.Total()));
  return line;
}

}  // namespace

StallTimes StallReport::Parts() const {
  StallTimes parts;
  for (const auto& [server, times] : servers) parts += times;
  return parts;
}

double StallReport::wait_seconds() const { return absl::ToDoubleSeconds(Parts().Total()); }

LargestStall LargestOf(const StallReport& report) {
  LargestStall largest;
  absl::Duration longest;
  for (const auto& [server, times] : report.servers) {
    for (size_t i = 0; i < kNumStallParts; ++i) {
      if (times[PartAt(i)] <= longest) continue;
      longest = times[PartAt(i)];
      largest.part = PartAt(i);
      largest.server = server;
    }
  }
  const double wait = report.wait_seconds();
  if (wait > 0) largest.share_of_wait = absl::ToDoubleSeconds(longest) / wait;
  return largest;
}

std::string WaitText(const StallReport& report) {
  const LargestStall largest = LargestOf(report);
  std::string text = absl::StrFormat("waited %.1f %% of their time for data", 100 * report.wait_share());
  if (largest.share_of_wait > 0) {
    absl::StrAppendFormat(&text, ", mostly (%.0f %% of it) for %s", 100 * largest.share_of_wait,
                          WhatIsAwaited(largest));
  }
  return text;
}

std::string RemedyFor(const LargestStall& largest) {
  const bool is_server = !largest.server.empty();
  switch (largest.part) {
    case StallPart::kDisk:
      return is_server ? "give that server more --reader-threads or a faster disk, or name a further server "
                         "that holds a copy (--cache grpc://a:1,b:2)"
                       : absl::StrCat(
                             "use a faster disk or a smaller codec (afterimage recode), or read through "
                             "afterimage-server with more --reader-threads than a folder's ",
                             OpenCacheOptions().reader_threads,
                             "; for pictures (finetune, probe, supervise) more --view-threads");
    case StallPart::kQueue:
      return is_server
                 ? "look at that server's processors: its readers and its writer wait for one"
                 : "look at the messages of the run, which say what was away and since when; a folder's "
                   "readers want a processor";
    case StallPart::kCredit:
      return "give more credit: --credit-bytes of afterimage-train, --credit of stream-bench";
    case StallPart::kWire:
      return "use a faster network, or a unix socket on the same machine; let less travel (codec i8x, fewer "
             "levels, visible tokens only); several servers have a connection each";
    case StallPart::kDecode:
      return "leave the reader a core of its own (fewer --threads), use more ranks, which decode one thread "
             "each, "
             "or a codec that needs less (f16, i8x); a live teacher counts here, and a cache replaces it; "
             "for "
             "pictures (finetune, probe, supervise) more --view-threads, or pictures stored smaller";
    case StallPart::kOrder:
      return "look at that server (its disk, its network, its messages), or leave it out; more credit "
             "(--credit-bytes) lets the others run further ahead";
  }
  return "";
}

std::string StallTable(const StallReport& report) {
  std::string text = absl::StrFormat("%-28s", "of the time");
  for (size_t i = 0; i < kNumStallParts; ++i) absl::StrAppendFormat(&text, "%8s", StallPartName(PartAt(i)));
  absl::StrAppendFormat(&text, "%8s\n", "all");
  for (const auto& [server, times] : report.servers)
    text += TableLine(server.empty() ? "here" : server, times, report.seconds);
  if (report.servers.size() != 1) text += TableLine("all", report.Parts(), report.seconds);
  return text;
}

Json ToJson(const StallReport& report) {
  Json json = {{"seconds", report.seconds},
               {"wait_s", report.wait_seconds()},
               {"wait_share", report.wait_share()},
               {"parts", PartsToJson(report.Parts())},
               {"servers", Json::object()}};
  for (const auto& [server, times] : report.servers) {
    if (server.empty()) {
      json["here"] = PartsToJson(times);
    } else {
      json["servers"][server] = PartsToJson(times);
    }
  }
  return json;
}

}  // namespace afterimage::cli
