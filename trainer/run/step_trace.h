// What the steps of a run spend their time on, for Perfetto (ui.perfetto.dev) and chrome://tracing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/identity/canonical_spec.h"

namespace afterimage::trainer {

// Collects the phases of the first steps, and the sums over ranks that go on beside them, in memory; Write
// makes a file of Chrome's trace format of them. Not thread-safe.
class StepTrace {
 public:
  struct Options {
    std::string path;  // empty = nothing is collected
    uint32_t rank = 0;
    uint32_t num_ranks = 1;
    uint64_t num_steps = 50;  // which bounds the file: some 2 KB a step
  };
  explicit StepTrace(Options options);

  // Whether the step that has begun is collected.
  bool active() const { return active_; }
  void BeginStep(uint64_t step);
  void EndStep();
  // A part of the step on this rank's own thread; a phase may come several times in a step.
  void Phase(absl::string_view name, absl::Time begin, absl::Time end);
  // The sum of gradient bucket `bucket` over the ranks.
  void Sum(int bucket, absl::Time begin, absl::Time end, int64_t bytes);

  // All steps that will be collected have been; and: this was the last of them.
  bool complete() const { return steps_.size() >= options_.num_steps && !active_; }
  bool just_completed() const { return just_completed_; }
  // Where Write writes: `path`, with ".rank2" before its extension where there are several ranks.
  std::string file() const;
  absl::Status Write() const;

  // Of the steps collected, the first left out: it also sets things up.
  struct Summary {
    uint64_t num_steps = 0;
    double seconds_per_step = 0;
    double backward_seconds = 0;  // per step
    double sum_seconds = 0;       // per step, in which at least one sum went on
    double hidden_share = 0;      // of those, the share during which the backward pass went on as well
  };
  Summary Summarize() const;
  // For people: "49 steps of 103.1 ms; all-reduce 12.0 ms a step, 91.2 % of it behind the backward pass".
  std::string SummaryText() const;

 private:
  struct Span {
    std::string name;
    int bucket = -1;  // -1: a phase
    absl::Time begin;
    absl::Time end;
    int64_t bytes = 0;
  };
  struct Step {
    uint64_t number = 0;
    absl::Time begin;
    absl::Time end;
    std::vector<Span> spans;
  };
  Json SummaryJson() const;
  Json Event(const std::string& name, int track, absl::Time begin, absl::Time end) const;

  const Options options_;
  bool active_ = false;
  bool just_completed_ = false;
  std::vector<Step> steps_;
};

// A phase from here to the end of the scope. `trace` may be null.
class TracePhase {
 public:
  TracePhase(StepTrace* trace, absl::string_view name) : trace_(trace), name_(name), begin_(absl::Now()) {}
  ~TracePhase() {
    if (trace_ != nullptr) trace_->Phase(name_, begin_, absl::Now());
  }
  TracePhase(const TracePhase&) = delete;
  TracePhase& operator=(const TracePhase&) = delete;

 private:
  StepTrace* const trace_;
  const absl::string_view name_;  // a literal
  const absl::Time begin_;
};

}  // namespace afterimage::trainer
