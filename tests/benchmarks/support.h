// What the benchmark programs share besides the statistics of paired.h.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/benchmarks/paired.h"

namespace afterimage::benchmarks {

// Ends the program with the error's text.
inline void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(EXIT_FAILURE);
}

template <typename T>
T Require(absl::StatusOr<T> result) {
  Require(result.status());
  return *std::move(result);
}

// User and system time of all threads of this process.
inline double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Cost {
  double wall = 0;  // seconds
  double cpu = 0;
};

class Stopwatch {
 public:
  Cost Elapsed() const {
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(),
            CpuSeconds() - cpu_};
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double cpu_ = CpuSeconds();
};

// The costs of one side of a comparison, round by round.
struct Side {
  std::vector<double> wall;
  std::vector<double> cpu;

  void Add(const Cost& cost) {
    wall.push_back(cost.wall);
    cpu.push_back(cost.cpu);
  }
};

// The entries at `indices`.
inline std::vector<double> Select(const std::vector<double>& values, const std::vector<size_t>& indices) {
  std::vector<double> selected;
  for (const size_t index : indices) selected.push_back(values[index]);
  return selected;
}
inline Side Select(const Side& side, const std::vector<size_t>& indices) {
  return {Select(side.wall, indices), Select(side.cpu, indices)};
}

// "ours / theirs: 0.70 [0.59, 0.75], wanted 0.95: MISSED". A bar is met when the interval reaches it and the
// median is within 0.02 of it; 0: there is none.
inline void PrintComparison(const std::string& ours, const std::string& theirs, const PairedResult& result,
                            double bar) {
  std::printf("%s / %s: %.3f [%.3f, %.3f]", ours.c_str(), theirs.c_str(), result.median_ratio, result.low,
              result.high);
  if (bar > 0) {
    const bool met = result.high >= bar && result.median_ratio >= bar - 0.02;
    std::printf(", wanted %.2f: %s", bar, met ? "met" : "MISSED");
  }
  std::printf("\n");
}

inline std::string LoadAverage() {
  std::string one, five, fifteen;
  std::ifstream("/proc/loadavg") >> one >> five >> fifteen;
  return one + " " + five + " " + fifteen;
}

// Busy seconds of all cores since the machine started, the hypervisor's share included.
inline double MachineBusySeconds() {
  std::ifstream stat("/proc/stat");
  std::string name;
  double ticks[8] = {};  // user, nice, system, idle, iowait, irq, softirq, steal
  stat >> name;
  for (double& value : ticks) stat >> value;
  return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Repeats rounds, because the machine is shared, until enough of them had it to themselves; what counts is
// what others did meanwhile, never the result. A round runs every side once.
//   while (rounds.Next()) { … }   then   rounds.Quietest()
class Rounds {
 public:
  static constexpr double kQuiet = 0.05;  // of all cores, used by others

  explicit Rounds(int wanted, double limit_seconds = 120, std::function<double()> own_cpu = CpuSeconds)
      : wanted_(wanted), limit_seconds_(limit_seconds), own_cpu_(std::move(own_cpu)) {}

  // False when there are enough quiet rounds, or the time is over and there are enough of any kind.
  bool Next() {
    if (started_) {
      const double wall = round_.Elapsed().wall;
      const double others = MachineBusySeconds() - busy_ - (own_cpu_() - own_);
      others_share_.push_back(others / (wall * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN))));
    }
    const auto quiet = std::count_if(others_share_.begin(), others_share_.end(),
                                     [](double share) { return share <= kQuiet; });
    const int run = static_cast<int>(others_share_.size());
    if (quiet >= wanted_ || (run >= wanted_ && all_.Elapsed().wall > limit_seconds_)) return false;
    started_ = true;
    busy_ = MachineBusySeconds();
    own_ = own_cpu_();
    round_ = Stopwatch();
    return true;
  }
  int number() const { return static_cast<int>(others_share_.size()); }

  // Of the rounds to be counted, and says which on standard output.
  std::vector<size_t> Quietest() const {
    std::vector<size_t> order(others_share_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t a, size_t b) { return others_share_[a] < others_share_[b]; });
    order.resize(wanted_);
    std::printf(
        "%d quietest of %zu rounds: others used %.1f %% (median) to %.1f %% (most) of the cores; load %s\n",
        wanted_, others_share_.size(), 100 * Median(Select(others_share_, order)),
        100 * others_share_[order.back()], LoadAverage().c_str());
    return order;
  }

 private:
  const int wanted_;
  const double limit_seconds_;
  const std::function<double()> own_cpu_;
  const Stopwatch all_;
  Stopwatch round_;
  bool started_ = false;
  double busy_ = 0;
  double own_ = 0;
  std::vector<double> others_share_;
};

inline void PrintMachine() {
  std::string model = "unknown CPU";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) {
      model = line.substr(line.find(':') + 2);
      break;
    }
  }
  std::printf("machine: %s, %ld cores, load before %s\n", model.c_str(), sysconf(_SC_NPROCESSORS_ONLN),
              LoadAverage().c_str());
}

}  // namespace afterimage::benchmarks
