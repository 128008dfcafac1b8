// What a checkpoint costs the training loop.
//   checkpoint_benchmark [vit_s|vit_b] [FOLDER] [ROUNDS] [STEPS] [BATCH]
//     STEPS steps with a checkpoint before them, which is written into FOLDER (where there is room for three)
//     while they run, beside STEPS steps without one; the difference as a share of five minutes. On all
//     cores.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/allocator.h"
#include "core/base/openmp.h"
#include "core/base/progress.h"
#include "tests/benchmarks/support.h"
#include "tests/testing/temporary_folder.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/model/vit_init.h"
#include "trainer/pretrain/pretrain_plan.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/checkpoint_keeper.h"
#include "trainer/run/step_trace.h"

namespace afterimage::benchmarks {
namespace {

using trainer::Checkpoint;
using trainer::CheckpointKeeper;
using trainer::PretrainPlan;
using trainer::TrainingBatch;
using trainer::TrainStep;

constexpr int64_t kNumVisible = 58;  // of 196: a mask ratio of 0.7
constexpr double kInterval = 300;    // seconds between the checkpoints of a run

PretrainPlan Plan(const std::string& model) {
  PretrainPlan plan;
  if (!trainer::NamedVit(model, plan.vit)) Require(absl::InvalidArgumentError("vit_s or vit_b"));
  plan.vit.image_size = 224;
  plan.vit.patch_size = 16;
  plan.vit.mlp_width = 4 * plan.vit.width;
  plan.alignments = {{.levels = {8, 9, 10, 11, 12},
                      .num_teacher_levels = 12,
                      .teacher_width = plan.vit.width,
                      .student_depth = plan.vit.depth,
                      .student_width = plan.vit.width}};
  plan.level_weights.assign(plan.alignments.front().levels.size(), 0.2);
  return plan;
}

TrainingBatch Batch(const PretrainPlan& plan, int64_t size) {
  TrainingBatch batch;
  batch.size = size;
  for (uint32_t slot = 0; slot < static_cast<uint32_t>(size); ++slot) batch.slots.push_back(slot);
  const int64_t p = plan.vit.patch_size;
  batch.pixels = at::randint(256, {size, kNumVisible, p * p * 3}, at::TensorOptions().dtype(at::kByte));
  batch.visible = at::arange(kNumVisible, at::TensorOptions().dtype(at::kLong)).repeat({size, 1});
  for (size_t i = 0; i < plan.level_weights.size(); ++i)
    batch.targets.push_back(at::randn({size, 1 + kNumVisible, plan.vit.width}));
  return batch;
}

void Run(const std::string& model, const std::string& folder, int num_rounds, int num_steps,
         int64_t batch_size) {
  const PretrainPlan plan = Plan(model);
  trainer::SelfCommunicator alone;
  trainer::StepTrace no_trace({});
  const auto train_step = Require(TrainStep::Create(plan, &alone, &no_trace));
  const TrainingBatch batch = Batch(plan, batch_size);
  uint64_t step = 0;
  const auto steps = [&] {
    for (int i = 0; i < num_steps; ++i) {
      Require(train_step->Gradients(batch, step++, static_cast<uint64_t>(batch.size)).status());
      Require(train_step->Update(1e-5).status());
    }
  };
  CheckpointKeeper keeper({.folder = folder});
  uint64_t bytes = 0;
  std::vector<double> copies;
  Checkpoint saved;
  const auto save = [&] {
    Checkpoint state;
    state.step = step;
    train_step->Fill(state);
    bytes = 0;
    for (const auto* const map : {&state.weights, &state.optimizer}) {
      for (const auto& [name, tensor] : *map) bytes += tensor.nbytes();
    }
    const Stopwatch copy;
    Require(keeper.Save(state, {}));
    saved = state;
    copies.push_back(copy.Elapsed().wall);
  };
  steps();
  save();
  steps();
  save();  // from here on all memory for copies is there
  steps();
  copies.clear();

  Side with, without;
  std::vector<double> unfinished;  // seconds by which the writing outlasted the steps: should be nothing
  Rounds rounds(num_rounds);
  while (rounds.Next()) {
    const auto time_with = [&] {
      const Stopwatch watch;
      save();
      steps();
      with.Add(watch.Elapsed());
      const Stopwatch rest;
      Require(keeper.Finish(saved, {}).status());
      unfinished.push_back(rest.Elapsed().wall);
    };
    const auto time_without = [&] {
      const Stopwatch watch;
      steps();
      without.Add(watch.Elapsed());
    };
    if (rounds.number() % 2 == 0) {
      time_with();
      time_without();
    } else {
      time_without();
      time_with();
    }
  }
  const std::vector<size_t> quiet = rounds.Quietest();
  const Side a = Select(with, quiet), b = Select(without, quiet);
  std::vector<double> lost, cpu;
  for (size_t i = 0; i < quiet.size(); ++i) {
    lost.push_back(a.wall[i] - b.wall[i]);
    cpu.push_back(a.cpu[i] - b.cpu[i]);
  }
  const PairedResult ratio = ComparePaired(a.wall, b.wall);
  const double base = Median(b.wall);
  std::printf("%s, batch %d: a checkpoint has %s; %d steps take %.2f s\n", model.c_str(),
              static_cast<int>(batch_size), HumanBytes(bytes).c_str(), num_steps, base);
  std::printf("copy (the loop waits): %.3f s = %.3f %% of %.0f s\n", Median(Select(copies, quiet)),
              100 * Median(Select(copies, quiet)) / kInterval, kInterval);
  std::printf(
      "lost in all, writing beside: %.3f s = %.3f %% of %.0f s; steps with / without %.3f (%.3f to %.3f), "
      "which is %.3f %% (%.3f to %.3f) of %.0f s\n",
      Median(lost), 100 * Median(lost) / kInterval, kInterval, ratio.median_ratio, ratio.low, ratio.high,
      100 * (ratio.median_ratio - 1) * base / kInterval, 100 * (ratio.low - 1) * base / kInterval,
      100 * (ratio.high - 1) * base / kInterval, kInterval);
  std::printf("CPU time of copy and writing: %.2f s\n", Median(cpu));
  std::printf(
      "the writing outlasted the steps by %.3f s%s\n", Median(Select(unfinished, quiet)),
      Median(Select(unfinished, quiet)) > 0.1 ? ": give more STEPS, the figures above are too good" : "");
}

int Main(int argc, char** argv) {
  UsePassiveOpenMp(argv);
  KeepFreedMemory();
  const auto argument = [&](int i, const char* otherwise) { return argc > i ? argv[i] : otherwise; };
  const std::string model = argument(1, "vit_s");
  const afterimage::testing::TemporaryFolder temporary;
  PrintMachine();
  const std::string folder = argument(2, "") == std::string() ? temporary.path().string() : argument(2, "");
  Run(model == "vit_b" ? "vit_base" : "vit_small", folder, std::atoi(argument(3, "15")),
      std::atoi(argument(4, "6")), std::atoi(argument(5, model == "vit_b" ? "4" : "8")));
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) { return afterimage::benchmarks::Main(argc, argv); }
