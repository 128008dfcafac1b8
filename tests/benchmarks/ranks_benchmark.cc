// Two ranks of one thread each beside one rank of one thread, on the same run (the same batches): images/s,
// and how much of the all-reduce is hidden behind the backward pass, from the traces that the ranks write.
// As a control two runs of one rank at the same time that have nothing to do with each other, with half of
// the batch each: more than their images/s together the machine's two cores do not give.
//
//   ranks_benchmark [demo | vit_s] [rounds] [steps of a run] [global batch]
//
// Starts afterimage-train as a user does, once for each side of a round. All figures leave the first step of
// a run out.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/identity/canonical_spec.h"
#include "tests/benchmarks/paired.h"
#include "tests/benchmarks/support.h"
#include "tests/benchmarks/world.h"
#include "tests/testing/child_process.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/distributed/sockets.h"

namespace afterimage::benchmarks {
namespace {

constexpr double kWantedSpeedUp = 1.8;
constexpr double kWantedHidden = 0.8;

// Of this process and of the children that have ended.
double CpuSecondsWithChildren() {
  rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return CpuSeconds() + seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Json ReadJson(const std::string& path) { return Json::parse(Require(ReadFile(path))); }

struct RunFigures {
  double images_per_second = 0;
  double hidden_share = 0;  // mean over the ranks
  double sum_seconds = 0;   // per step, likewise
  double step_seconds = 0;
};

class RanksRun {
 public:
  RanksRun(std::string folder, std::vector<std::string> flags, int num_steps, int batch)
      : folder_(std::move(folder)), flags_(std::move(flags)), num_steps_(num_steps), batch_(batch) {}

  RunFigures Run(uint32_t num_ranks) {
    const std::string out = NextFolder();
    const trainer::BoundSocket free_port = Require(trainer::BindTcp(0));
    close(free_port.descriptor);
    Processes ranks;
    for (uint32_t rank = 0; rank < num_ranks; ++rank) {
      ranks.push_back(Start(out, batch_,
                            {"--rank", absl::StrCat(rank), "--world-size", absl::StrCat(num_ranks),
                             "--rendezvous", absl::StrCat("127.0.0.1:", free_port.port)}));
    }
    Wait(ranks);
    RunFigures figures;
    for (uint32_t rank = 0; rank < num_ranks; ++rank) {
      const Json other = Trace(out, num_ranks > 1 ? absl::StrCat(".rank", rank) : "");
      figures.hidden_share += other["hidden_share"].get<double>() / num_ranks;
      figures.sum_seconds += other["sum_seconds_per_step"].get<double>() / num_ranks;
      figures.step_seconds += other["seconds_per_step"].get<double>() / num_ranks;
    }
    figures.images_per_second = batch_ / figures.step_seconds;
    return figures;
  }

  // Images/s of two runs of half the batch, together.
  double RunTwoApart() {
    const std::string folders[] = {NextFolder(), NextFolder()};
    Processes processes;
    for (const std::string& out : folders) processes.push_back(Start(out, batch_ / 2, {}));
    Wait(processes);
    double rate = 0;
    for (const std::string& out : folders)
      rate += batch_ / 2 / Trace(out, "")["seconds_per_step"].get<double>();
    return rate;
  }

 private:
  using Processes = std::vector<std::unique_ptr<testing::ChildProcess>>;

  std::string NextFolder() { return absl::StrCat(folder_, "/run", ++num_runs_); }

  std::unique_ptr<testing::ChildProcess> Start(const std::string& out, int batch,
                                               const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {AFTERIMAGE_BINARY_DIR "/bin/afterimage-train",
                                     "pretrain",
                                     "--out",
                                     out,
                                     "--steps",
                                     absl::StrCat(num_steps_),
                                     "--batch-size",
                                     absl::StrCat(batch),
                                     "--trace",
                                     absl::StrCat(out, "-trace.json"),
                                     "--trace-steps",
                                     absl::StrCat(num_steps_)};
    argv.insert(argv.end(), flags_.begin(), flags_.end());
    argv.insert(argv.end(), more.begin(), more.end());
    return std::make_unique<testing::ChildProcess>(argv);
  }

  static void Wait(const Processes& processes) {
    for (const auto& process : processes) {
      const testing::Finished finished = process->Wait(absl::Minutes(30));
      if (finished.status != 0) Require(absl::InternalError(finished.Text()));
    }
  }

  // What the trace sums up, over all steps but the first, in which memory and buckets are made.
  static Json Trace(const std::string& out, const std::string& of_rank) {
    return ReadJson(absl::StrCat(out, "-trace", of_rank, ".json"))["otherData"];
  }

  const std::string folder_;
  const std::vector<std::string> flags_;
  const int num_steps_;
  const int batch_;
  int num_runs_ = 0;
};

int Main(const std::string& name, int num_rounds, int num_steps, int batch) {
  PrintMachine();
  const testing::TemporaryFolder folder;
  World world = MakeWorld(name, folder.path().string(), name == "demo" ? 8000 : 256);
  const std::string cache = (folder / "cache").string();
  Precompute(world, DescribeSet(world, "visible", "f16"), cache);
  std::vector<std::string> flags = {"--cache", cache,  "--epochs", "1000",          "--threads",
                                    "1",       "--lr", "1e-4",     "--image-every", "0"};
  for (const auto& [flag, value] : {std::pair{"--width", world.student.width},
                                    {"--depth", world.student.depth},
                                    {"--heads", world.student.heads}}) {
    flags.insert(flags.end(), {flag, absl::StrCat(value)});
  }
  std::printf("%s, batch %d, runs of %d steps\n", name.c_str(), batch, num_steps);

  RanksRun runs(folder.path().string(), flags, num_steps, batch);
  runs.Run(1);
  runs.Run(2);
  std::vector<double> one, two, apart, hidden, sum, step;
  Rounds rounds(num_rounds, /*limit_seconds=*/120, CpuSecondsWithChildren);
  while (rounds.Next()) {
    for (int turn = 0; turn < 3; ++turn) {
      const int side = (rounds.number() + turn) % 3;
      if (side == 0) {
        one.push_back(runs.Run(1).images_per_second);
      } else if (side == 1) {
        apart.push_back(runs.RunTwoApart());
      } else {
        const RunFigures figures = runs.Run(2);
        two.push_back(figures.images_per_second);
        hidden.push_back(figures.hidden_share);
        sum.push_back(figures.sum_seconds);
        step.push_back(figures.step_seconds);
      }
    }
  }
  const std::vector<size_t> counted = rounds.Quietest();
  const PairedResult speed_up = ComparePaired(Select(two, counted), Select(one, counted));
  const PairedResult ceiling = ComparePaired(Select(apart, counted), Select(one, counted));
  const PairedResult of_ceiling = ComparePaired(Select(two, counted), Select(apart, counted));
  const double hidden_share = Median(Select(hidden, counted));
  std::printf("one rank of one thread    %8.1f images/s (median)\n", Median(Select(one, counted)));
  std::printf("two ranks of one thread   %8.1f images/s (median)\n", Median(Select(two, counted)));
  std::printf("two runs of one rank      %8.1f images/s together (median)\n", Median(Select(apart, counted)));
  std::printf("two runs / one            %.3f, 95 %% interval %.3f to %.3f: what the two cores give\n",
              ceiling.median_ratio, ceiling.low, ceiling.high);
  std::printf("two ranks / two runs      %.3f, 95 %% interval %.3f to %.3f\n", of_ceiling.median_ratio,
              of_ceiling.low, of_ceiling.high);
  std::printf("two / one                 %.3f, 95 %% interval %.3f to %.3f (wanted: at least %.1f)\n",
              speed_up.median_ratio, speed_up.low, speed_up.high, kWantedSpeedUp);
  std::printf(
      "all-reduce                %.2f ms of a step of %.2f ms; %.1f %% of it behind the backward pass "
      "(wanted: at "
      "least %.0f %%)\n",
      1e3 * Median(Select(sum, counted)), 1e3 * Median(Select(step, counted)), 100 * hidden_share,
      100 * kWantedHidden);
  return speed_up.median_ratio >= kWantedSpeedUp && hidden_share >= kWantedHidden ? EXIT_SUCCESS
                                                                                  : EXIT_FAILURE;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  const std::string world = argc > 1 ? argv[1] : "demo";
  const bool demo = world == "demo";
  return afterimage::benchmarks::Main(world, argc > 2 ? std::atoi(argv[2]) : 15,
                                      argc > 3 ? std::atoi(argv[3]) : (demo ? 40 : 6),
                                      argc > 4 ? std::atoi(argv[4]) : (demo ? 128 : 64));
}
