#include "trainer/run/step_trace.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/files.h"

namespace afterimage::trainer {
namespace {

constexpr char kBackward[] = "backward";

using Interval = std::pair<absl::Time, absl::Time>;

// Disjoint and ascending.
std::vector<Interval> Union(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end());
  std::vector<Interval> merged;
  for (const Interval& interval : intervals) {
    if (!merged.empty() && interval.first <= merged.back().second) {
      merged.back().second = std::max(merged.back().second, interval.second);
    } else {
      merged.push_back(interval);
    }
  }
  return merged;
}

double Length(const std::vector<Interval>& intervals) {
  absl::Duration length;
  for (const auto& [begin, end] : intervals) length += end - begin;
  return absl::ToDoubleSeconds(length);
}

std::vector<Interval> Intersection(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  std::vector<Interval> common;
  for (const Interval& x : a) {
    for (const Interval& y : b) {
      const Interval both(std::max(x.first, y.first), std::min(x.second, y.second));
      if (both.first < both.second) common.push_back(both);
    }
  }
  return common;
}

}  // namespace

StepTrace::StepTrace(Options options) : options_(std::move(options)) {}

void StepTrace::BeginStep(uint64_t step) {
  active_ = !options_.path.empty() && steps_.size() < options_.num_steps;
  if (active_) steps_.push_back({.number = step, .begin = absl::Now()});
}

void StepTrace::EndStep() {
  if (active_) steps_.back().end = absl::Now();
  just_completed_ = active_ && steps_.size() == options_.num_steps;
  active_ = false;
}

void StepTrace::Phase(absl::string_view name, absl::Time begin, absl::Time end) {
  if (active_) steps_.back().spans.push_back({.name = std::string(name), .begin = begin, .end = end});
}

void StepTrace::Sum(int bucket, absl::Time begin, absl::Time end, int64_t bytes) {
  if (!active_) return;
  steps_.back().spans.push_back({.name = absl::StrCat("all-reduce ", bucket),
                                 .bucket = bucket,
                                 .begin = begin,
                                 .end = end,
                                 .bytes = bytes});
}

std::string StepTrace::file() const {
  if (options_.num_ranks == 1) return options_.path;
  const std::filesystem::path path(options_.path);
  return (path.parent_path() /
          absl::StrCat(path.stem().string(), ".rank", options_.rank, path.extension().string()))
      .string();
}

// One bar of the format ("X"): times in microseconds since the epoch, so that the files of the ranks of one
// machine lie on one time axis.
Json StepTrace::Event(const std::string& name, int track, absl::Time begin, absl::Time end) const {
  return {{"name", name},
          {"ph", "X"},
          {"pid", options_.rank},
          {"tid", track},
          {"ts", absl::ToDoubleMicroseconds(begin - absl::UnixEpoch())},
          {"dur", absl::ToDoubleMicroseconds(end - begin)}};
}

absl::Status StepTrace::Write() const {
  constexpr int kPhases = 0;
  std::set<int> buckets;
  Json events = Json::array();
  const auto name = [&](const char* what, int track, const std::string& text) {
    events.push_back(
        {{"name", what}, {"ph", "M"}, {"pid", options_.rank}, {"tid", track}, {"args", {{"name", text}}}});
  };
  name("process_name", kPhases, absl::StrCat("rank ", options_.rank));
  name("thread_name", kPhases, "steps");
  for (const Step& step : steps_) {
    if (step.end == absl::Time()) continue;  // under way
    events.push_back(Event(absl::StrCat("step ", step.number), kPhases, step.begin, step.end));
    for (const Span& span : step.spans) {
      Json event = Event(span.name, span.bucket < 0 ? kPhases : 1 + span.bucket, span.begin, span.end);
      event["args"] = {{"step", step.number}};
      if (span.bucket >= 0) {
        event["args"]["bytes"] = span.bytes;
        if (buckets.insert(span.bucket).second)
          name("thread_name", 1 + span.bucket, absl::StrCat("all-reduce, bucket ", span.bucket));
      }
      events.push_back(std::move(event));
    }
  }
  const Json trace = {{"displayTimeUnit", "ms"}, {"otherData", SummaryJson()}, {"traceEvents", events}};
  return WriteFileAtomically(file(), trace.dump() + "\n");
}

StepTrace::Summary StepTrace::Summarize() const {
  Summary summary;
  double seconds = 0, hidden = 0;
  for (size_t i = 1; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    if (step.end == absl::Time()) continue;
    std::vector<Interval> sums, backward;
    for (const Span& span : step.spans) {
      if (span.bucket >= 0) sums.emplace_back(span.begin, span.end);
      if (span.name == kBackward) backward.emplace_back(span.begin, span.end);
    }
    sums = Union(std::move(sums));
    backward = Union(std::move(backward));
    ++summary.num_steps;
    seconds += absl::ToDoubleSeconds(step.end - step.begin);
    summary.backward_seconds += Length(backward);
    summary.sum_seconds += Length(sums);
    hidden += Length(Intersection(sums, backward));
  }
  if (summary.num_steps == 0) return summary;
  const double n = static_cast<double>(summary.num_steps);
  summary.hidden_share = summary.sum_seconds > 0 ? hidden / summary.sum_seconds : 0;
  summary.seconds_per_step = seconds / n;
  summary.backward_seconds /= n;
  summary.sum_seconds /= n;
  return summary;
}

Json StepTrace::SummaryJson() const {
  const Summary summary = Summarize();
  return {{"summary", SummaryText()},
          {"steps", summary.num_steps},
          {"seconds_per_step", summary.seconds_per_step},
          {"backward_seconds_per_step", summary.backward_seconds},
          {"sum_seconds_per_step", summary.sum_seconds},
          {"hidden_share", summary.hidden_share}};
}

std::string StepTrace::SummaryText() const {
  const Summary summary = Summarize();
  if (summary.num_steps == 0) return "no whole step after the first";
  std::string text =
      absl::StrFormat("%d steps of %.1f ms", summary.num_steps, 1e3 * summary.seconds_per_step);
  if (options_.num_ranks > 1) {
    absl::StrAppendFormat(
        &text, "; all-reduce %.2f ms a step, %.1f %% of it behind the backward pass (%.1f ms)",
        1e3 * summary.sum_seconds, 100 * summary.hidden_share, 1e3 * summary.backward_seconds);
  }
  return text;
}

}  // namespace afterimage::trainer
