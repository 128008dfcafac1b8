#include "core/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"

namespace afterimage {
namespace {

constexpr int kBarColumns = 24;
constexpr int kDefaultTerminalColumns = 100;

int TerminalColumns(std::FILE* stream) {
  winsize size = {};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return kDefaultTerminalColumns;
}

std::string HumanRate(double rate) {
  if (rate >= 100) return absl::StrFormat("%.0f", rate);
  if (rate >= 1) return absl::StrFormat("%.1f", rate);
  return absl::StrFormat("%.3f", rate);
}

}  // namespace

Progress::Progress(Options options)
    : options_(std::move(options)), start_(absl::Now()), last_draw_(start_), done_(options_.already_done) {
  if (options_.style == Style::kAutomatic) {
    options_.style = isatty(fileno(options_.stream)) ? Style::kBar : Style::kLines;
  }
  if (options_.style == Style::kBar) Draw("", /*last=*/false);
}

Progress::~Progress() { Finish(); }

void Progress::Update(uint64_t done, absl::string_view detail) {
  if (finished_) return;
  done_ = done;
  const absl::Duration interval =
      options_.style == Style::kBar ? options_.bar_interval : options_.line_interval;
  const absl::Time now = absl::Now();
  if (now - last_draw_ < interval) return;
  last_draw_ = now;
  Draw(detail, /*last=*/false);
}

void Progress::Finish(absl::string_view detail) {
  if (finished_) return;
  finished_ = true;
  Draw(detail, /*last=*/true);
}

void Progress::Message(absl::string_view text) {
  if (options_.style == Style::kSilent) return;
  if (options_.style == Style::kJson) {
    const nlohmann::json line = {
        {"event", "message"}, {"label", options_.label}, {"text", std::string(text)}};
    absl::FPrintF(options_.stream, "%s\n",
                  line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    absl::FPrintF(options_.stream, "%s%s\n", bar_drawn_ ? "\r\033[K" : "", text);
    if (bar_drawn_ && !finished_) Draw("", /*last=*/false);
  }
  std::fflush(options_.stream);
}

double Progress::Rate() const {
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
  if (seconds <= 0 || done_ <= options_.already_done) return 0;
  return static_cast<double>(done_ - options_.already_done) / seconds;
}

void Progress::Draw(absl::string_view detail, bool last) {
  const double rate = Rate();
  const bool has_eta = options_.total > 0 && rate > 0;
  const uint64_t left = options_.total > done_ ? options_.total - done_ : 0;
  const absl::Duration eta = has_eta ? absl::Seconds(static_cast<double>(left) / rate) : absl::ZeroDuration();

  std::string numbers = options_.total > 0 ? absl::StrCat(done_, "/", options_.total, " ", options_.unit)
                                           : absl::StrCat(done_, " ", options_.unit);
  absl::StrAppend(&numbers, "  ", HumanRate(rate), " ", options_.unit, "/s");
  if (last) {
    absl::StrAppend(&numbers, "  in ", HumanDuration(absl::Now() - start_));
  } else if (has_eta) {
    absl::StrAppend(&numbers, "  ETA ", HumanDuration(eta));
  }
  if (!detail.empty()) absl::StrAppend(&numbers, "  ", detail);

  switch (options_.style) {
    case Style::kSilent:
      return;
    case Style::kJson: {
      nlohmann::ordered_json line;
      line["event"] = last ? "done" : "progress";
      line["label"] = options_.label;
      line["unit"] = options_.unit;
      line["done"] = done_;
      line["total"] = options_.total > 0 ? nlohmann::ordered_json(options_.total) : nullptr;
      line["rate"] = std::round(rate * 1000) / 1000;
      line["eta_s"] = has_eta ? nlohmann::ordered_json(std::round(absl::ToDoubleSeconds(eta))) : nullptr;
      line["elapsed_s"] = std::round(absl::ToDoubleSeconds(absl::Now() - start_) * 1000) / 1000;
      if (!detail.empty()) line["detail"] = std::string(detail);
      absl::FPrintF(options_.stream, "%s\n",
                    line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
      break;
    }
    case Style::kAutomatic:  // resolved by the constructor
    case Style::kLines: {
      const std::string percent =
          options_.total > 0
              ? absl::StrFormat(" %.0f %%", 100.0 * std::min(done_, options_.total) / options_.total)
              : "";
      absl::FPrintF(options_.stream, "%s:%s  %s\n", options_.label, percent, numbers);
      break;
    }
    case Style::kBar: {
      std::string line = absl::StrCat(options_.label, " ");
      if (options_.total > 0) {
        const double fraction = static_cast<double>(std::min(done_, options_.total)) / options_.total;
        const int filled = static_cast<int>(fraction * kBarColumns);
        absl::StrAppendFormat(&line, "[%s%s] %3.0f %%  ", std::string(filled, '='),
                              std::string(kBarColumns - filled, ' '), std::floor(fraction * 100));
      }
      absl::StrAppend(&line, numbers);
      // A line that wraps could not be redrawn in place.
      if (!last) line.resize(std::min<size_t>(line.size(), TerminalColumns(options_.stream) - 1));
      absl::FPrintF(options_.stream, "\r\033[K%s%s", line, last ? "\n" : "");
      bar_drawn_ = !last;
      break;
    }
  }
  std::fflush(options_.stream);
}

std::string HumanBytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
  constexpr size_t kNumUnits = std::size(kUnits);
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would be printed as 1000.
  while (value >= 999.5 && unit + 1 < kNumUnits) {
    value /= 1000;
    ++unit;
  }
  // 9.95 would be printed as 10.0.
  const int num_decimals = value < 9.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", num_decimals, value, kUnits[unit]);
}

std::string HumanDuration(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "for ever";
  if (duration < absl::Seconds(9.95))
    return absl::StrFormat("%.1f s", std::max(0.0, absl::ToDoubleSeconds(duration)));
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (seconds < 60) return absl::StrFormat("%d s", seconds);
  if (seconds < 3600) return absl::StrFormat("%d min %02d s", seconds / 60, seconds % 60);
  if (seconds < 48 * 3600) return absl::StrFormat("%d h %02d min", seconds / 3600, seconds / 60 % 60);
  return absl::StrFormat("%d d %02d h", seconds / 86400, seconds / 3600 % 24);
}

}  // namespace afterimage
