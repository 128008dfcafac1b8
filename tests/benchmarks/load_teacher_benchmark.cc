// Loading a teacher's weights beside reading and hashing their file: what a worker waits for at its start.
//
//   load_teacher_benchmark [rounds, 15] [f32 or f16, f32] [folder for the file, /tmp]
//
// A ViT-B/16 of random weights in Hugging Face's CLIP names (separate q, k and v), about 344 MB in f32. Each
// round runs `TeacherRunner::Load` and the baseline (read the file piece by piece, SHA-256) in turn, the
// order changing; the file is in the page cache.
#include <ATen/ATen.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/base/digest.h"
#include "core/vit/teacher_layouts.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/tensor_file.h"
#include "core/vit/tower_location.h"
#include "tests/benchmarks/support.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::benchmarks {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

const TeacherLayout& ClipLayout() {
  for (const TeacherLayout& layout : TeacherLayouts()) {
    if (layout.name == "hf_clip") return layout;
  }
  std::abort();  // the table has it
}

// Our parameters under the family's names.
ParameterMap WeightsOf(const VitConfig& config, at::ScalarType type) {
  const TeacherLayout& layout = ClipLayout();
  const WeightViews none;
  ParameterMap weights;
  for (const auto& [name, shape] : VitParameterShapes(config)) {
    std::string ours = name;
    int64_t block = 0;
    if (ours.starts_with("blocks.")) {
      const std::vector<std::string> words = absl::StrSplit(ours, absl::MaxSplits('.', 2));
      block = std::atoll(words[1].c_str());
      ours = absl::StrCat("blocks.#.", words[2]);
    }
    const at::Tensor values = (at::randn(shape) * 0.02).to(type);
    const bool joined = ours.find("attn.qkv") != std::string::npos;
    const std::vector<at::Tensor> parts = joined ? values.chunk(3, 0) : std::vector<at::Tensor>{values};
    const char* const names[] = {"attn.q", "attn.k", "attn.v"};
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string part = joined ? absl::StrReplaceAll(ours, {{"attn.qkv", names[i]}}) : ours;
      weights["vision_model." + OfBlock(FileNameOf(layout, none, "", part), block)] = parts[i];
    }
  }
  return weights;
}

double ReadAndHash(const std::string& path) {
  const Stopwatch watch;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<uint8_t> piece(kPieceBytes);
  Sha256Stream stream;
  for (ssize_t count = 0; (count = read(file, piece.data(), piece.size())) > 0;) {
    stream.Update(ByteSpan(piece).first(static_cast<size_t>(count)));
  }
  close(file);
  if (stream.Finish().IsZero()) std::abort();  // the result is used
  return watch.Elapsed().wall;
}

double Load(const TeacherOptions& options) {
  const Stopwatch watch;
  const auto teacher = Require(TeacherRunner::Load(options));
  return watch.Elapsed().wall;
}

int Run(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  const at::ScalarType type = argc > 2 && std::string(argv[2]) == "f16" ? at::kHalf : at::kFloat;
  const VitConfig config{.layer_norm_eps = 1e-5, .pre_norm = true, .patch_bias = false};
  const testing::TemporaryFolder folder;
  TeacherOptions options;
  options.weights = absl::StrCat(argc > 3 ? argv[3] : folder.path().string(), "/load_teacher.safetensors");
  options.num_heads = static_cast<uint32_t>(config.heads);
  options.activation = "quick_gelu";
  Require(SaveTensors(options.weights, WeightsOf(config, type)));
  std::printf("%s: %.0f MB, %d rounds\n", options.weights.c_str(),
              static_cast<double>(std::filesystem::file_size(options.weights)) / 1e6, rounds);
  Load(options);
  ReadAndHash(options.weights);
  std::vector<double> loads, hashes;
  for (int round = 0; round < rounds; ++round) {
    if (round % 2 == 0) loads.push_back(Load(options));
    hashes.push_back(ReadAndHash(options.weights));
    if (round % 2 == 1) loads.push_back(Load(options));
  }
  const PairedResult result = ComparePaired(loads, hashes);
  std::printf(
      "load %.3f s, read and hash %.3f s (medians); load / read and hash %.2f [%.2f, %.2f], bar 1.20: %s\n",
      Median(loads), Median(hashes), result.median_ratio, result.low, result.high,
      result.median_ratio <= 1.2 ? "met" : "missed");
  std::filesystem::remove(options.weights);
  return 0;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) { return afterimage::benchmarks::Run(argc, argv); }
