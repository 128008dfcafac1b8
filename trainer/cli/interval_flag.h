// A flag that says how often something is done.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "trainer/run/step_interval.h"

namespace afterimage::trainer {

// "500" are steps, "2epochs" epochs. `interval` must live as long as the command.
inline void AddIntervalFlag(CLI::App& command, const std::string& flag, StepInterval& interval,
                            const std::string& help) {
  command.add_option_function<std::string>(
      flag,
      [flag, &interval](const std::string& text) {
        const absl::StatusOr<StepInterval> parsed = StepInterval::Parse(text);
        if (!parsed.ok()) throw CLI::ValidationError(flag, std::string(parsed.status().message()));
        interval = *parsed;
      },
      help);
}

}  // namespace afterimage::trainer
