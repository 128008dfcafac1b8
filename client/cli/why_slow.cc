#include "client/cli/why_slow.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"

namespace afterimage::cli {
namespace {

struct StepLine {
  uint64_t step = 0;
  std::optional<double> seconds;
  std::optional<std::vector<StallRow>> stalls;
  HedgeCounts hedges;
};

absl::StatusOr<HedgeCounts> HedgesFromJson(const Json& json) {
  if (!json.is_object() || json.size() != 2 || !json.contains("asked") || !json.contains("won") ||
      !json["asked"].is_number_unsigned() || !json["won"].is_number_unsigned()) {
    return absl::InvalidArgumentError("hedges are two counts, asked and won");
  }
  return HedgeCounts{.asked = json["asked"].get<uint64_t>(), .won = json["won"].get<uint64_t>()};
}

// Nothing where the line is of something else than a step.
absl::StatusOr<std::optional<StepLine>> ParseLine(const Json& json) {
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_unsigned())
    return absl::InvalidArgumentError("no object with a step");
  if (!json.contains("wait_share")) return std::nullopt;
  StepLine line;
  line.step = json["step"].get<uint64_t>();
  if (!json.contains("stall_s")) return line;
  if (!json.contains("step_s") || !json["step_s"].is_number())
    return absl::InvalidArgumentError("a stall ledger without the step's length");
  line.seconds = json["step_s"].get<double>();
  AFTERIMAGE_ASSIGN_OR_RETURN(line.stalls, StallRowsFromJson(json["stall_s"]));
  if (json.contains("hedges")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(line.hedges, HedgesFromJson(json["hedges"]));
  }
  return line;
}

void Count(const StepLine& line, RunStalls& stalls) {
  if (stalls.num_steps++ == 0) stalls.first_step = line.step;
  stalls.last_step = line.step;
  stalls.report.seconds += *line.seconds;
  stalls.hedges += line.hedges;
  std::map<uint32_t, absl::Duration> waits;
  for (const StallRow& row : *line.stalls) waits[row.rank] += row.times.Total();
  if (waits.empty()) return;
  const auto longest = std::ranges::max_element(waits, {}, [](const auto& wait) { return wait.second; });
  for (const auto& [rank, wait] : waits) stalls.ranks[rank].wait_seconds += absl::ToDoubleSeconds(wait);
  ++stalls.ranks[longest->first].num_longest;
  for (const StallRow& row : *line.stalls) {
    if (row.rank == longest->first) stalls.report.Add(row);
  }
}

}  // namespace

absl::StatusOr<RunStalls> ReadRunStalls(const std::string& run, const StepRange& range) {
  std::error_code error;
  if (!std::filesystem::is_directory(run, error))
    return absl::NotFoundError(absl::StrCat(run, ": no such folder; name the --out of a training run"));
  const std::string path = absl::StrCat(run, "/metrics.jsonl");
  std::ifstream file(path);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(run, " has no metrics.jsonl that can be read; name the --out of a training run"));
  }
  RunStalls stalls;
  std::optional<StepLine> first;
  std::string text;
  for (uint64_t number = 1; std::getline(file, text); ++number) {
    const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded() && file.eof()) break;  // being written
    const absl::StatusOr<std::optional<StepLine>> parsed = ParseLine(json);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ", line ", number, " is damaged: ", parsed.status().message()));
    }
    if (!parsed->has_value()) continue;
    const StepLine& line = **parsed;
    if (line.step < range.first || line.step > range.last) continue;
    if (!line.stalls.has_value()) {
      ++stalls.num_without;
    } else if (line.step == 0) {
      first = line;
    } else {
      Count(line, stalls);
    }
  }
  if (stalls.num_steps == 0 && first.has_value()) Count(*first, stalls);
  if (stalls.num_steps > 0) return stalls;
  if (stalls.num_without > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", stalls.num_without, " steps in ", path,
        " have no stall ledger: they are of an older afterimage-train; go on with the run, or look at "
        "speed/input_wait in TensorBoard"));
  }
  return absl::NotFoundError(absl::StrCat(path, " has no step ",
                                          range.first > 0 || range.last < UINT64_MAX
                                              ? "in the range that is asked for"
                                              : "yet: training has not begun"));
}

bool LimitedByData(const RunStalls& stalls) { return stalls.report.wait_share() >= kNoticedShare; }

std::string WhySlowText(const RunStalls& stalls) {
  const std::string steps = stalls.first_step == stalls.last_step
                                ? absl::StrCat("Step ", stalls.first_step)
                                : absl::StrCat("Steps ", stalls.first_step, "-", stalls.last_step);
  std::string hedges;
  if (stalls.hedges.asked > 0) {
    hedges =
        absl::StrCat(" ", stalls.hedges.asked, stalls.hedges.asked == 1 ? " record was" : " records were",
                     " asked of a second server too, ", stalls.hedges.won, " came from it first.");
  }
  if (!LimitedByData(stalls)) {
    return absl::StrFormat("%s: input wait %.1f %%: not limited by data.%s", steps,
                           100 * stalls.report.wait_share(), hedges);
  }
  std::string text = absl::StrCat(steps, " ", WaitText(stalls.report), ".");
  if (stalls.ranks.size() > 1) {
    const auto slowest =
        std::ranges::max_element(stalls.ranks, {}, [](const auto& rank) { return rank.second.num_longest; });
    absl::StrAppend(&text, " Rank ", slowest->first, " waited longest in ", slowest->second.num_longest,
                    " of ", stalls.num_steps, " steps.");
  }
  return absl::StrCat(text, hedges, "\nWhat helps: ", RemedyFor(LargestOf(stalls.report)), ".");
}

}  // namespace afterimage::cli
