// What a long-running command prints while it runs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace afterimage {

// On a terminal one bar that is redrawn in place, with rate and ETA; elsewhere one line per interval, either
// as text or as one JSON object ({"event":"progress","label":…,"done":…,"total":…,"rate":…,"eta_s":…}).
// Not thread-safe: one thread reports.
class Progress {
 public:
  enum class Style { kAutomatic, kBar, kLines, kJson, kSilent };
  struct Options {
    std::string label;          // e.g. "precompute"
    std::string unit = "items"; // e.g. "images"
    uint64_t total = 0;         // 0 = not known: no bar, no ETA
    uint64_t already_done = 0;  // done before this run: counts for the bar, not for the rate
    Style style = Style::kAutomatic;
    absl::Duration line_interval = absl::Seconds(10);  // off a terminal
    absl::Duration bar_interval = absl::Milliseconds(200);
    std::FILE* stream = stderr;
  };

  explicit Progress(Options options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` counts all work, `already_done` included; `detail` is shown after the rate (loss, stage occupancy).
  void Update(uint64_t done, absl::string_view detail = "");
  // Draws the final state and ends the line. Further calls do nothing.
  void Finish(absl::string_view detail = "");
  // Prints a line of its own without tearing the bar.
  void Message(absl::string_view text);

  // Items per second since the start.
  double Rate() const;

 private:
  void Draw(absl::string_view detail, bool last);

  Options options_;
  absl::Time start_;
  absl::Time last_draw_;
  uint64_t done_;
  bool finished_ = false;
  bool bar_drawn_ = false;
};

// "1.5 GB", "12 KB": powers of 1000, as disks and networks count.
std::string HumanBytes(uint64_t bytes);
// "2 h 05 min", "43 s".
std::string HumanDuration(absl::Duration duration);

}  // namespace afterimage
