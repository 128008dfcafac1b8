// One side of compare_with_python.py: a teacher's forward, or the training step on a batch in memory, as
// often as lines on standard input ask for it. Not meant to be started by hand.
//   network_benchmark teacher WEIGHTS INPUT.safetensors OUTPUT.safetensors THREADS [HEADS]
//     INPUT holds "pixel_values" [B, 3, S, S]; OUTPUT gets "hidden" and "importance", for comparison.
//   network_benchmark step vit_small|demo BATCH OUTPUT.safetensors THREADS
//     OUTPUT gets the first weights and the batch ("batch.*"), so that the other side does the same step.
// Lines "run N" are answered by "WALL CPU LOSS" (seconds of N forwards or steps), "memory" by peak, resident
// and anonymous resident bytes, "save" (steps only) by "saved" when OUTPUT holds the present weights, "quit"
// by the end.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/allocator.h"
#include "core/base/openmp.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_families.h"
#include "core/vit/tensor_file.h"
#include "tests/benchmarks/support.h"
#include "trainer/distributed/self_communicator.h"
#include "trainer/model/student.h"
#include "trainer/model/weights_file.h"
#include "trainer/pretrain/train_step.h"
#include "trainer/run/step_trace.h"

namespace afterimage::benchmarks {
namespace {

using trainer::PretrainPlan;
using trainer::TrainingBatch;
using trainer::TrainStep;

constexpr int kNumLevels = 5;  // as top5

// Bytes of /proc/self/status's "VmHWM:" and the like, which are in kilobytes there.
uint64_t StatusBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kilobytes = 0;
    if (word == key && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

// Answers the lines of standard input. `run` does its work once and returns its loss, if it has one.
void Serve(const std::function<double()>& run, const std::function<void()>& save = {}) {
  std::string word;
  while (std::cin >> word && word != "quit") {
    if (word == "memory") {
      std::printf("%llu %llu %llu\n", static_cast<unsigned long long>(StatusBytes("VmHWM:")),
                  static_cast<unsigned long long>(StatusBytes("VmRSS:")),
                  static_cast<unsigned long long>(StatusBytes("RssAnon:")));
    } else if (word == "save" && save) {
      save();
      std::printf("saved\n");
    } else if (int times = 0; word == "run" && std::cin >> times) {
      double loss = 0;
      const Stopwatch watch;
      for (int i = 0; i < times; ++i) loss = run();
      const Cost cost = watch.Elapsed();
      std::printf("%.9f %.9f %.9g\n", cost.wall, cost.cpu, loss);
    } else {
      Require(absl::InvalidArgumentError(absl::StrCat("what is \"", word, "\"?")));
    }
    std::fflush(stdout);
  }
}

void ServeTeacher(const std::string& weights, const std::string& input, const std::string& output,
                  uint32_t heads) {
  const auto file = Require(SafetensorsFile::OpenCheckpoint(weights));
  TeacherOptions options;
  options.num_heads = heads;
  const TeacherModel teacher = Require(LoadTeacherModel(*file, options, at::kFloat));
  const at::Tensor pixels = Require(LoadTensors(input)).at("pixel_values");
  VitOutput last;
  const auto forward = [&] {
    last = VitForward(teacher.config, teacher.parameters, PatchRows(pixels, teacher.config.patch_size),
                      {.with_importance = true});
    return 0.0;
  };
  forward();
  Require(SaveTensors(output, {{"hidden", last.hidden.back()}, {"importance", last.importance}}));
  std::printf("ready\n");
  std::fflush(stdout);
  Serve(forward);
}

// The student of `name`, with a teacher of its own size.
PretrainPlan MakePlan(const std::string& name) {
  PretrainPlan plan;
  if (name == "vit_small") {
    plan.vit = {.width = 384, .heads = 6, .mlp_width = 1536};
  } else if (name == "demo") {
    plan.vit = {.image_size = 28, .patch_size = 4, .width = 96, .depth = 6, .heads = 3, .mlp_width = 384};
  } else {
    Require(absl::InvalidArgumentError(absl::StrCat("students: vit_small, demo; not ", name)));
  }
  plan.options.drop_path = 0;  // both sides draw differently
  plan.options.seed = 1;
  trainer::AlignmentConfig alignment;
  alignment.num_teacher_levels = static_cast<uint32_t>(plan.vit.depth);
  alignment.teacher_width = plan.vit.width;
  alignment.student_depth = plan.vit.depth;
  alignment.student_width = plan.vit.width;
  for (uint32_t level = alignment.num_teacher_levels - kNumLevels + 1; level <= alignment.num_teacher_levels;
       ++level) {
    alignment.levels.push_back(level);
    plan.level_weights.push_back(1.0 / kNumLevels);
  }
  plan.alignments = {alignment};
  return plan;
}

// Made-up views and features, of which 70 % are masked.
TrainingBatch MakeBatch(const PretrainPlan& plan, int64_t size) {
  at::manual_seed(7);
  const int64_t num_patches = plan.vit.num_patches();
  const int64_t num_visible = num_patches * 3 / 10;
  TrainingBatch batch =
      TrainingBatch::Allocate({.batch = size,
                               .num_visible = num_visible,
                               .patch_size = plan.vit.patch_size,
                               .teachers = {{plan.vit.width, plan.alignments.front().levels}}});
  batch.size = size;
  for (uint32_t slot = 0; slot < static_cast<uint32_t>(size); ++slot) batch.slots.push_back(slot);
  batch.pixels.copy_(at::randint(256, batch.pixels.sizes(), at::kByte));
  batch.visible.copy_(at::rand({size, num_patches}).argsort(int64_t{1}).slice(1, 0, num_visible));
  for (at::Tensor& target : batch.targets) target.copy_(LayerNormNoAffine(at::randn(target.sizes()), 1e-5));
  return batch;
}

void ServeStep(const std::string& name, int64_t batch_size, const std::string& output) {
  const PretrainPlan plan = MakePlan(name);
  const TrainingBatch batch = MakeBatch(plan, batch_size);
  trainer::SelfCommunicator alone;
  trainer::StepTrace no_trace({});
  const auto step = Require(TrainStep::Create(plan, &alone, &no_trace));
  trainer::Checkpoint first;
  step->Fill(first);
  ParameterMap tensors = first.weights;
  const trainer::PixelNorm norm;
  tensors["batch.rows"] = trainer::StudentRows(batch.pixels, Require(trainer::ParseTriple(norm.mean)),
                                               Require(trainer::ParseTriple(norm.deviation)));
  tensors["batch.visible"] = batch.visible;
  for (size_t i = 0; i < batch.targets.size(); ++i)
    tensors[absl::StrCat("batch.target.", i)] = batch.targets[i];
  Require(SaveTensors(output, tensors));
  std::printf("ready\n");
  std::fflush(stdout);
  uint64_t number = 0;
  Serve(
      [&] {
        const float loss = Require(step->Gradients(batch, number++, static_cast<uint64_t>(batch.size)));
        Require(step->Update(/*lr=*/1e-4));
        return loss;
      },
      [&] {
        trainer::Checkpoint now;
        step->Fill(now);
        Require(SaveTensors(output, now.weights));
      });
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  afterimage::UsePassiveOpenMp(argv);  // as the programs do
  afterimage::KeepFreedMemory();
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 5) {
    std::fprintf(stderr, "started by tests/benchmarks/compare_with_python.py; see the head of the source\n");
    return EXIT_FAILURE;
  }
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);  // as pretrain
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::set_num_threads(std::atoi(arguments[4].c_str()));
  if (arguments[0] == "teacher") {
    afterimage::benchmarks::ServeTeacher(arguments[1], arguments[2], arguments[3],
                                         arguments.size() > 5 ? std::atoi(arguments[5].c_str()) : 0);
  } else {
    afterimage::benchmarks::ServeStep(arguments[1], std::atoll(arguments[2].c_str()), arguments[3]);
  }
  return EXIT_SUCCESS;
}
