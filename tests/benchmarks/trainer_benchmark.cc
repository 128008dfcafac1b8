// What a training step costs where its features come from a cache.
//   trainer_benchmark resident [demo|vit_s|vit_b] [f16|f32] [ROUNDS] [STEPS]
//     beside a step whose batch lies in memory, and how long it waits for input; on all cores
//   trainer_benchmark online [demo|vit_s|vit_b] [f16|f32] [ROUNDS] [STEPS]
//     beside a step with the teacher in it, and what the FLOPs and the times of the teacher's forward and of
//     a step on a batch in memory predict; on one core, as both networks would share one GPU
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/allocator.h"
#include "core/base/openmp.h"
#include "tests/benchmarks/support.h"
#include "tests/benchmarks/world.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/data/batch_feed.h"
#include "trainer/data/feature_input.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/model/drop_path.h"
#include "trainer/model/student.h"
#include "trainer/optim/adamw.h"

namespace afterimage::benchmarks {
namespace {

using trainer::BatchFeed;
using trainer::FeatureInput;
using trainer::Student;
using trainer::TrainingBatch;

constexpr double kDropPath = 0.1;
constexpr double kLearningRate = 1e-4;
constexpr uint64_t kSeed = 1;
constexpr double kShareOfPrediction = 0.9;
constexpr int kWarmUpSteps = 3;  // untimed, at the start of every block: the feed gets into its stride

// The step of trainer/pretrain, with nothing but the arithmetic.
class Stepper {
 public:
  Stepper(const World& world, const SetDescription& description)
      : student_(Require(Student::Create(world.student, {Alignment(world, description)}, kSeed))),
        optimizer_(student_.parameters(), {}) {}

  void Step(const TrainingBatch& batch) {
    const at::Tensor drop_path =
        trainer::DropPathFactors(kDropPath, student_.vit().depth, batch.size, kSeed, step_++);
    const auto aligned = student_.Predict(batch.pixels.narrow(0, 0, batch.size),
                                          batch.visible.narrow(0, 0, batch.size), drop_path);
    std::vector<at::Tensor> targets;
    for (const at::Tensor& target : batch.targets) targets.push_back(target.narrow(0, 0, batch.size));
    const std::vector<double> weights(targets.size(), 1.0 / static_cast<double>(targets.size()));
    const at::Tensor loss = trainer::AlignmentLoss(trainer::LossType::kSmoothL1, weights, aligned, targets);
    loss.backward();
    last_loss_ = loss.item<float>();
    optimizer_.Step(kLearningRate);
  }

  // Multiply-accumulates of a forward over `num_visible` patches, the alignment included.
  double ForwardMacs(int64_t num_visible) const {
    const trainer::AlignmentConfig& alignment = student_.alignments().front();
    return VitForwardMacs(student_.vit(), num_visible) +
           static_cast<double>(1 + num_visible) * static_cast<double>(alignment.levels.size()) *
               static_cast<double>(alignment.student_depth * alignment.student_width +
                                   alignment.student_width * alignment.teacher_width);
  }
  float last_loss() const { return last_loss_; }

 private:
  static trainer::AlignmentConfig Alignment(const World& world, const SetDescription& description) {
    trainer::AlignmentConfig config;
    config.levels = description.set.levels;
    config.num_teacher_levels = description.feature.geometry.num_levels;
    config.teacher_width = description.feature.geometry.width;
    config.student_depth = world.student.depth;
    config.student_width = world.student.width;
    return config;
  }

  Student student_;
  trainer::AdamW optimizer_;
  uint64_t step_ = 0;
  float last_loss_ = 0;
};

BatchFeed::Options FeedOptions(const World& world, FeatureInput& input, uint64_t num_steps) {
  const SetDescription& description = input.description();
  BatchFeed::Options feed;
  feed.request.set_id = description.set.Id();
  feed.request.order = input.order();
  feed.request.global_batch = world.batch_size;
  feed.request.selection.levels = description.set.levels;
  feed.request.selection.tokens = Selection::Tokens::kMask;
  feed.request.selection.pixels = true;
  feed.num_steps = num_steps;
  feed.shape = {.batch = world.batch_size,
                .num_visible = input.order().mask.num_visible,
                .patch_size = world.student.patch_size,
                .teachers = {{description.feature.geometry.width, description.set.levels}}};
  return feed;
}

struct BlockCost {
  Cost cost;
  double waited = 0;
};

// Steps fed by the source. The feed is as far ahead at the end of the timed part as at its start.
BlockCost RunFed(const World& world, FeatureInput& input, Stepper& stepper, int num_steps) {
  BatchFeed::Options options = FeedOptions(world, input, kWarmUpSteps + num_steps);
  options.num_steps += options.num_batches;
  BatchFeed feed(input.source(), std::move(options));
  BlockCost block;
  const auto step = [&] {
    const Stopwatch waiting;
    TrainingBatch* const batch = Require(feed.Next());
    block.waited += waiting.Elapsed().wall;
    stepper.Step(*batch);
    feed.Release(batch);
  };
  for (int i = 0; i < kWarmUpSteps; ++i) step();
  block.waited = 0;
  const Stopwatch watch;
  for (int i = 0; i < num_steps; ++i) step();
  block.cost = watch.Elapsed();
  return block;
}

Cost RunResident(const TrainingBatch& batch, Stepper& stepper, int num_steps) {
  for (int i = 0; i < kWarmUpSteps; ++i) stepper.Step(batch);
  const Stopwatch watch;
  for (int i = 0; i < num_steps; ++i) stepper.Step(batch);
  return watch.Elapsed();
}

TrainingBatch TakeBatch(const World& world, FeatureInput& input) {
  BatchFeed feed(input.source(), FeedOptions(world, input, 1));
  const TrainingBatch* const batch = Require(feed.Next());
  TrainingBatch copy = *batch;  // shares the feed's tensors, which live on in it
  return copy;
}

void Print(const char* what, const Side& side, int num_steps, int batch_size) {
  std::printf("%-10s %8.2f ms per step, %8.1f images/s, %8.2f CPU-ms per step (medians)\n", what,
              1e3 * Median(side.wall) / num_steps, num_steps * batch_size / Median(side.wall),
              1e3 * Median(side.cpu) / num_steps);
}

int CompareWithResident(World& world, FeatureInput& cached, Stepper& stepper, int num_rounds, int num_steps) {
  const TrainingBatch resident = TakeBatch(world, cached);
  RunFed(world, cached, stepper, num_steps);
  RunResident(resident, stepper, num_steps);
  Side fed, at_rest;
  std::vector<double> waited;
  Rounds rounds(num_rounds);
  while (rounds.Next()) {
    for (int turn = 0; turn < 2; ++turn) {
      if ((rounds.number() + turn) % 2 == 0) {
        const BlockCost block = RunFed(world, cached, stepper, num_steps);
        fed.Add(block.cost);
        waited.push_back(block.waited / block.cost.wall);
      } else {
        at_rest.Add(RunResident(resident, stepper, num_steps));
      }
    }
  }
  const std::vector<size_t> counted = rounds.Quietest();
  fed = Select(fed, counted);
  at_rest = Select(at_rest, counted);
  waited = Select(waited, counted);
  Print("cached", fed, num_steps, world.batch_size);
  Print("resident", at_rest, num_steps, world.batch_size);
  const PairedResult wall = ComparePaired(fed.wall, at_rest.wall);
  const PairedResult cpu = ComparePaired(fed.cpu, at_rest.cpu);
  std::printf("cached / resident, time      %.3f, 95 %% interval %.3f to %.3f (wanted: at most 1.05)\n",
              wall.median_ratio, wall.low, wall.high);
  std::printf("cached / resident, CPU       %.3f, 95 %% interval %.3f to %.3f\n", cpu.median_ratio, cpu.low,
              cpu.high);
  const double mean_wait =
      std::accumulate(waited.begin(), waited.end(), 0.0) / static_cast<double>(waited.size());
  std::printf(
      "input wait                   %.2f %% of step time, most in a round %.2f %% (wanted: at most 1 %%)\n",
      100 * mean_wait, 100 * *std::max_element(waited.begin(), waited.end()));
  std::printf("(batch of %.2f MB read per step, loss %.3f)\n", static_cast<double>(resident.bytes) / 1e6,
              stepper.last_loss());
  return wall.median_ratio <= 1.05 && mean_wait <= 0.01 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int CompareWithOnline(World& world, FeatureInput& cached, FeatureInput& live, Stepper& stepper,
                      int num_rounds, int num_steps) {
  const TrainingBatch resident = TakeBatch(world, cached);
  const std::vector<View> views = MakeViews(world, cached.description().feature.view);
  // The teacher over as many views as it takes to fill its batches; its time is reckoned per step.
  const std::span<const View> some(views.data(), ViewsPerCall(*world.teacher));
  const double steps_of_views = static_cast<double>(some.size()) / world.batch_size;
  const std::vector<uint32_t>& levels = cached.description().set.levels;
  RunFed(world, cached, stepper, num_steps);
  RunFed(world, live, stepper, num_steps);
  RunTeacher(world, some, levels);
  Side from_cache, on_line, at_rest, teacher;
  Rounds rounds(num_rounds);
  while (rounds.Next()) {
    for (int turn = 0; turn < 4; ++turn) {
      const int which = (rounds.number() + turn) % 4;
      if (which == 0) from_cache.Add(RunFed(world, cached, stepper, num_steps).cost);
      if (which == 1) on_line.Add(RunFed(world, live, stepper, num_steps).cost);
      if (which == 2) at_rest.Add(RunResident(resident, stepper, num_steps));
      if (which == 3) teacher.Add(RunTeacher(world, some, levels));
    }
  }
  const std::vector<size_t> counted = rounds.Quietest();
  from_cache = Select(from_cache, counted);
  on_line = Select(on_line, counted);
  at_rest = Select(at_rest, counted);
  teacher = Select(teacher, counted);
  Print("cached", from_cache, num_steps, world.batch_size);
  Print("on line", on_line, num_steps, world.batch_size);
  Print("resident", at_rest, num_steps, world.batch_size);
  std::printf("teacher    %8.2f ms for a step's views\n", 1e3 * Median(teacher.wall) / steps_of_views);
  const PairedResult wall = ComparePaired(on_line.wall, from_cache.wall);
  const PairedResult cpu = ComparePaired(on_line.cpu, from_cache.cpu);
  std::printf("cached / on line, images/s   %.3f, 95 %% interval %.3f to %.3f; by CPU time %.3f\n",
              wall.median_ratio, wall.low, wall.high, cpu.median_ratio);
  // Round by round: the speed-up, over the one that the times of the two parts predict.
  std::vector<double> achieved, predicted;
  for (size_t i = 0; i < counted.size(); ++i) {
    const double step = at_rest.wall[i] / num_steps;
    achieved.push_back(on_line.wall[i] / from_cache.wall[i]);
    predicted.push_back((step + teacher.wall[i] / steps_of_views) / step);
  }
  const PairedResult share = ComparePaired(achieved, predicted);
  std::printf(
      "of what times predict        %.3f, 95 %% interval %.3f to %.3f (wanted: at least %.2f); predicted "
      "%.3f\n",
      share.median_ratio, share.low, share.high, kShareOfPrediction, Median(predicted));
  const double teacher_macs = world.teacher->ForwardMacs();
  const double student_macs = stepper.ForwardMacs(cached.order().mask.num_visible);
  std::printf(
      "predicted by FLOPs           %.3f (forward: teacher %.1f M, student %.1f M; backward: twice "
      "the student's)\n",
      (3 * student_macs + teacher_macs) / (3 * student_macs), teacher_macs / 1e6, student_macs / 1e6);
  return share.median_ratio >= kShareOfPrediction ? EXIT_SUCCESS : EXIT_FAILURE;
}

void UseOneCore() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cores);
  if (sched_setaffinity(0, sizeof(cores), &cores) != 0) Require(absl::InternalError("sched_setaffinity"));
  at::set_num_threads(1);
}

int Main(const std::string& mode, const std::string& name, const std::string& codec, int num_rounds,
         int num_steps) {
  if (mode != "resident" && mode != "online") Require(absl::InvalidArgumentError("modes: resident, online"));
  PrintMachine();
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);  // as pretrain
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  const testing::TemporaryFolder folder;
  const int num_images = name == "demo" ? 8000 : 64;
  World world = MakeWorld(name, folder.path().string(), num_images);
  const std::string cache = (folder / "cache").string();
  Precompute(world, DescribeSet(world, "all", codec), cache);
  if (mode == "online") UseOneCore();

  const auto cached = Require(FeatureInput::Open({.cache = cache}));
  Stepper stepper(world, cached->description());
  std::printf("%s, codec %s, tokens all, batch %d, rounds of %d steps\n", name.c_str(), codec.c_str(),
              world.batch_size, num_steps);
  int result;
  if (mode == "resident") {
    result = CompareWithResident(world, *cached, stepper, num_rounds, num_steps);
  } else {
    trainer::FeatureInputOptions options;
    options.teacher = world.teacher_options;
    options.teacher.num_threads = 1;
    options.images = world.images_path;
    options.images_limit = num_images;
    options.like = cache;
    const auto live = Require(FeatureInput::Open(options));
    result = CompareWithOnline(world, *cached, *live, stepper, num_rounds, num_steps);
  }
  return result;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  afterimage::UsePassiveOpenMp(argv);  // as the program
  afterimage::KeepFreedMemory();
  const std::string world = argc > 2 ? argv[2] : "demo";
  return afterimage::benchmarks::Main(argc > 1 ? argv[1] : "resident", world, argc > 3 ? argv[3] : "f16",
                                      argc > 4 ? std::atoi(argv[4]) : 15,
                                      argc > 5 ? std::atoi(argv[5]) : (world == "demo" ? 20 : 3));
}
