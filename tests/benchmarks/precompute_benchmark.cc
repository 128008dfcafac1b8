// Views per second of precompute, images to published units, beside the bare teacher on the same views in
// the same batches.
//   precompute_benchmark [demo|vit_s] [all|visible] [f16|f32] [ROUNDS] [IMAGES]
// Two yardsticks: TeacherRunner::Run on views that lie in memory (its result is what gets encoded), and the
// network's forward alone on rows that lie in memory.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/allocator.h"
#include "core/base/openmp.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_families.h"
#include "core/vit/vit.h"
#include "tests/benchmarks/support.h"
#include "tests/benchmarks/world.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::benchmarks {
namespace {

constexpr double kBar = 0.9;

// The network without anything around it.
class BareForward {
 public:
  explicit BareForward(const TeacherOptions& options) {
    const auto file = Require(SafetensorsFile::Open(options.weights));
    model_ = Require(LoadTeacherModel(*file, options, at::kFloat));
    micro_batch_ = options.micro_batch;
    rows_ = at::rand(
        {micro_batch_, model_.config.num_patches(), 3 * model_.config.patch_size * model_.config.patch_size});
  }

  Cost Run(size_t num_views) const {
    const c10::InferenceMode inference;
    const Stopwatch watch;
    for (size_t done = 0; done < num_views; done += micro_batch_) {
      VitForward(model_.config, model_.parameters, rows_, {.with_importance = true});
    }
    return watch.Elapsed();
  }

 private:
  TeacherModel model_;
  int64_t micro_batch_ = 0;
  at::Tensor rows_;
};

Cost RunPipeline(World& world, const SetDescription& description, const std::string& folder) {
  const double cpu = CpuSeconds();
  const double seconds = Precompute(world, description, folder);
  const Cost cost{seconds, CpuSeconds() - cpu};
  std::filesystem::remove_all(folder);
  return cost;
}

void Print(const char* what, const Side& side, double num_views) {
  std::printf("%-28s %8.1f views/s, %7.3f CPU-ms per view (medians)\n", what, num_views / Median(side.wall),
              1e3 * Median(side.cpu) / num_views);
}

int Main(const std::string& name, const std::string& tokens, const std::string& codec, int num_rounds,
         int images) {
  PrintMachine();
  const testing::TemporaryFolder folder;
  World world = MakeWorld(name, folder.path().string(), images);
  const SetDescription description = DescribeSet(world, tokens, codec);
  const std::vector<View> views = MakeViews(world, description.feature.view);
  const BareForward forward(world.teacher_options);
  const std::string cache = (folder / "cache").string();

  RunPipeline(world, description, cache);
  RunTeacher(world, views, description.set.levels);
  forward.Run(views.size());
  Side pipeline, teacher, bare;
  Rounds rounds(num_rounds);
  while (rounds.Next()) {
    // The order changes, so that a trend favours none.
    for (int turn = 0; turn < 3; ++turn) {
      const int which = (rounds.number() + turn) % 3;
      if (which == 0) pipeline.Add(RunPipeline(world, description, cache));
      if (which == 1) teacher.Add(RunTeacher(world, views, description.set.levels));
      if (which == 2) bare.Add(forward.Run(views.size()));
    }
  }
  std::printf("%s, tokens %s, codec %s, rounds of %zu views in batches of %u; %s\n", name.c_str(),
              tokens.c_str(), codec.c_str(), views.size(), ViewsPerCall(*world.teacher),
              world.teacher->DeviceDescription().c_str());
  const std::vector<size_t> counted = rounds.Quietest();
  pipeline = Select(pipeline, counted);
  teacher = Select(teacher, counted);
  bare = Select(bare, counted);
  const double n = static_cast<double>(views.size());
  Print("precompute", pipeline, n);
  Print("TeacherRunner::Run", teacher, n);
  Print("forward alone", bare, n);
  // Rates: the time of the yardstick over the time of the pipeline.
  const PairedResult run = ComparePaired(teacher.wall, pipeline.wall);
  const PairedResult network = ComparePaired(bare.wall, pipeline.wall);
  const PairedResult cpu = ComparePaired(teacher.cpu, pipeline.cpu);
  std::printf("precompute / Run             %.3f, 95 %% interval %.3f to %.3f (wanted: at least %.2f)\n",
              run.median_ratio, run.low, run.high, kBar);
  std::printf("precompute / forward alone   %.3f, 95 %% interval %.3f to %.3f\n", network.median_ratio,
              network.low, network.high);
  std::printf("CPU of Run / CPU of precompute %.3f, 95 %% interval %.3f to %.3f\n", cpu.median_ratio, cpu.low,
              cpu.high);
  return run.median_ratio >= kBar ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  afterimage::UsePassiveOpenMp(argv);  // as the program
  afterimage::KeepFreedMemory();
  const std::string world = argc > 1 ? argv[1] : "demo";
  return afterimage::benchmarks::Main(world, argc > 2 ? argv[2] : "visible", argc > 3 ? argv[3] : "f16",
                                      argc > 4 ? std::atoi(argv[4]) : 15,
                                      argc > 5 ? std::atoi(argv[5]) : (world == "demo" ? 4000 : 16));
}
