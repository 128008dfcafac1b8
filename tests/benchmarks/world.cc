#include "tests/benchmarks/world.h"

#include <algorithm>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "cache_server/precompute/pipeline.h"
#include "cache_server/precompute/plan.h"
#include "cache_server/precompute/precompute_options.h"
#include "client/open_cache.h"
#include "core/base/files.h"
#include "core/image/image_source.h"
#include "tests/benchmarks/pictures.h"
#include "tests/benchmarks/support.h"
#include "trainer/model/vit_init.h"
#include "trainer/model/weights_file.h"

namespace afterimage::benchmarks {
namespace {

constexpr char kFashionImages[] = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";
constexpr double kAssumedRate = 1000;  // views per second: only for the size of units

int PipelineThreads() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2); }

void WritePhotographs(const std::string& folder, int count) {
  Require(CreateDirectories(folder));
  for (int i = 0; i < count; ++i) {
    std::ofstream(absl::StrFormat("%s/%05d.jpg", folder, i), std::ios::binary) << NoisyPhotograph(i + 1);
  }
}

void WriteRandomTeacher(const std::string& path, VitConfig config) {
  trainer::VitWeights weights;
  weights.config = config;
  weights.parameters = trainer::NewVit(config, /*seed=*/1);
  Require(trainer::SaveVitWeights(path, weights, "f32"));
}

}  // namespace

World MakeWorld(const std::string& name, const std::string& folder, int num_images) {
  World world;
  VitConfig& student = world.student;
  if (name == "demo") {
    world.images_path = kFashionImages;
    world.teacher_options.weights = std::string(AFTERIMAGE_SOURCE_DIR) + "/deploy/demo/teacher.safetensors";
    student = {.image_size = 28, .patch_size = 4, .width = 96, .depth = 6, .heads = 3, .mlp_width = 384};
    world.batch_size = 128;
  } else if (name == "vit_s" || name == "vit_b") {
    world.images_path = folder + "/images";
    WritePhotographs(world.images_path, num_images);
    trainer::NamedVit("vit_small", student);
    VitConfig teacher = student;
    if (name == "vit_b") trainer::NamedVit("vit_base", teacher);
    world.teacher_options.weights = folder + "/teacher.safetensors";
    WriteRandomTeacher(world.teacher_options.weights, teacher);
    world.batch_size = 8;
  } else {
    Require(absl::InvalidArgumentError("worlds: demo, vit_s, vit_b"));
  }
  world.images = Require(ImageIndex::Build(Require(OpenImageSource(world.images_path, num_images)), 2));
  world.teacher = Require(TeacherRunner::Load(world.teacher_options));
  return world;
}

SetDescription DescribeSet(const World& world, const std::string& tokens, const std::string& codec) {
  PrecomputeOptions options;
  options.tokens = tokens;
  options.codec = codec;
  return Require(afterimage::DescribeSet(options, *world.teacher));
}

uint32_t ViewsPerCall(const TeacherRunner& teacher) { return std::max(teacher.micro_batch(), 32u); }

std::vector<View> MakeViews(const World& world, const ViewSpec& spec) {
  std::vector<View> views;
  for (const ImageKey& key : world.images->manifest().keys()) {
    const RgbImage image = Require(world.images->ReadImage(key));
    views.push_back(
        Require(MakeView(image, spec, DrawViewGeometry(key, spec, 0, image.width, image.height))));
  }
  return views;
}

Cost RunTeacher(World& world, std::span<const View> views, std::span<const uint32_t> levels) {
  const Stopwatch watch;
  for (size_t i = 0; i < views.size(); i += ViewsPerCall(*world.teacher)) {
    const auto batch = views.subspan(i, std::min<size_t>(ViewsPerCall(*world.teacher), views.size() - i));
    Require(world.teacher->Run(batch, levels).status());
  }
  return watch.Elapsed();
}

double Precompute(World& world, SetDescription description, const std::string& cache_folder) {
  const OpenedCache cache = Require(OpenCache(cache_folder, {.create = true}));
  const double record_bytes = 4.0 * description.set.levels.size() *
                              description.feature.geometry.num_tokens() * description.feature.geometry.width;
  description.layout = ChooseLayout(world.images->manifest().num_keys(), record_bytes, kAssumedRate);
  Require(cache.catalog->CreateSet(description));
  Require(cache.catalog->PutManifest(world.images->manifest()));
  PipelineOptions options;
  options.worker = "benchmark";
  options.num_decode_threads = options.num_encode_threads = PipelineThreads();
  options.views_per_call = ViewsPerCall(*world.teacher);
  PrecomputePipeline pipeline(Require(cache.catalog->OpenSet(description.set.Id(), OpenMode::kContribute)),
                              world.images.get(), world.teacher.get(), options);
  const PipelineReport report = Require(pipeline.Run(nullptr));
  if (!report.complete || report.records != world.images->manifest().num_keys()) {
    Require(absl::InternalError("the pipeline did not compute everything"));
  }
  return absl::ToDoubleSeconds(report.elapsed);
}

}  // namespace afterimage::benchmarks
