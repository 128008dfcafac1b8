// afterimage why-slow: what the steps of a training run waited for.
#include <iostream>
#include <memory>

#include "client/cli/command.h"
#include "client/cli/why_slow.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {
namespace {

struct WhySlowFlags {
  std::string run;
  StepRange range;
  bool json = false;
};

Json ToJson(const RunStalls& stalls) {
  const LargestStall largest = LargestOf(stalls.report);
  Json json = ToJson(stalls.report);
  json["first_step"] = stalls.first_step;
  json["last_step"] = stalls.last_step;
  json["steps"] = stalls.num_steps;
  json["steps_without_ledger"] = stalls.num_without;
  json["hedges"] = {{"asked", stalls.hedges.asked}, {"won", stalls.hedges.won}};
  json["limited_by_data"] = LimitedByData(stalls);
  json["text"] = WhySlowText(stalls);
  if (largest.share_of_wait > 0) {
    json["mostly"] = {{"part", StallPartName(largest.part)},
                      {"server", largest.server.empty() ? Json() : Json(largest.server)},
                      {"share_of_wait", largest.share_of_wait}};
  }
  json["ranks"] = Json::array();
  for (const auto& [rank, wait] : stalls.ranks)
    json["ranks"].push_back(
        {{"rank", rank}, {"wait_s", wait.wait_seconds}, {"steps_waited_longest", wait.num_longest}});
  return json;
}

absl::Status RunWhySlow(const WhySlowFlags& flags) {
  if (flags.range.first > flags.range.last) {
    return absl::InvalidArgumentError("--first-step is beyond --last-step");
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const RunStalls stalls, ReadRunStalls(flags.run, flags.range));
  if (flags.json) {
    std::cout << JsonText(ToJson(stalls)) << "\n";
    return absl::OkStatus();
  }
  std::cout << WhySlowText(stalls) << "\n";
  if (stalls.num_without > 0)
    std::cout << stalls.num_without << " further steps have no stall ledger and are not counted.\n";
  if (stalls.report.wait_seconds() > 0) std::cout << "\n" << StallTable(stalls.report);
  return absl::OkStatus();
}

}  // namespace

void AddWhySlowCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<WhySlowFlags>();
  CLI::App* command = app.add_subcommand(
      "why-slow", "what the steps of a training run waited for: disk, queue, credit, wire, decoding, order");
  command->add_option("run", flags->run, "the folder of the run, its --out")->required();
  command->add_option("--first-step", flags->range.first, "only from this step on");
  command->add_option("--last-step", flags->range.last, "only up to this step");
  command->add_flag("--json", flags->json, "JSON for machines");
  command->callback([flags, &run] { run = [flags] { return RunWhySlow(*flags); }; });
}

}  // namespace afterimage::cli
