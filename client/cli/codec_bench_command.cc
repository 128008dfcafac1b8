// afterimage codec-bench: what every codec costs and loses on activations of the user's own.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/rate_picture.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/base/thread_cpu_time.h"
#include "core/feature/bfloat16.h"
#include "core/feature/calibration_report.h"
#include "core/feature/half.h"
#include "core/feature/profile_builder.h"
#include "core/tensors/npy.h"
#include "core/tensors/safetensors.h"

namespace afterimage::cli {
namespace {

constexpr double kLayerNormEps = 1e-5;  // as stored features have it
constexpr uint64_t kMaxMeasuredRecords = 256;

struct CodecBenchFlags {
  std::string input;
  uint64_t samples = 2000;
  std::string png;
  bool json = false;
};

struct Activations {
  std::string content;  // of a .npy file; owns what the views show
  std::shared_ptr<const SafetensorsFile> file;
  std::vector<std::pair<std::string, TensorView>> levels;
  int64_t images = 0, tokens = 0, channels = 0;
};

absl::Status CheckShapes(Activations& activations) {
  for (auto& [name, tensor] : activations.levels) {
    if (tensor.type != TensorType::kF32 && tensor.type != TensorType::kF16 &&
        tensor.type != TensorType::kBF16) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " holds ", TensorTypeName(tensor.type), "; F32, F16 or BF16 are taken"));
    }
    if (tensor.shape.size() != 3 || std::ranges::find(tensor.shape, 0) != tensor.shape.end()) {
      return absl::InvalidArgumentError(absl::StrCat(name, " has the shape [",
                                                     absl::StrJoin(tensor.shape, ", "),
                                                     "]: images x tokens x channels is wanted"));
    }
    if (tensor.shape != activations.levels.front().second.shape) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has another shape than ", activations.levels.front().first));
    }
  }
  const std::vector<int64_t>& shape = activations.levels.front().second.shape;
  activations.images = shape[0];
  activations.tokens = shape[1];
  activations.channels = shape[2];
  if (shape[1] > 65026 || shape[2] > 65536) {
    return absl::InvalidArgumentError(absl::StrCat(
        "at most 65026 tokens of 65536 channels are possible, not ", shape[1], " of ", shape[2]));
  }
  return absl::OkStatus();
}

absl::StatusOr<Activations> ReadActivations(const std::string& path) {
  Activations activations;
  if (path.ends_with(".npy")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(activations.content, ReadFile(path));
    AFTERIMAGE_ASSIGN_OR_RETURN(const TensorView tensor, ParseNpy(AsBytes(activations.content), path));
    activations.levels.emplace_back("the array", tensor);
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(activations.file, SafetensorsFile::Open(path));
    for (const auto& [name, tensor] : activations.file->tensors())
      activations.levels.emplace_back(name, tensor);
    if (activations.levels.empty())
      return absl::InvalidArgumentError(absl::StrCat(path, " holds no tensors"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckShapes(activations), path));
  return activations;
}

// One image's values of one level, each token normalised as features are before they are stored.
LevelFeatures ReadLevel(const TensorView& tensor, uint32_t level, int64_t image) {
  const size_t tokens = static_cast<size_t>(tensor.shape[1]), channels = static_cast<size_t>(tensor.shape[2]);
  const size_t count = tokens * channels;
  const uint8_t* const data =
      tensor.data.data() + static_cast<size_t>(image) * count * TensorTypeBytes(tensor.type);
  LevelFeatures features;
  features.level = level;
  features.width = static_cast<uint32_t>(channels);
  features.values.resize(count);
  features.mean.assign(tokens, 0.0f);
  features.inverse_deviation.assign(tokens, 1.0f);
  if (tensor.type == TensorType::kF16) {
    DecodeHalves(data, features.values);
  } else if (tensor.type == TensorType::kBF16) {
    DecodeBfloat16s(data, features.values);
  } else {
    std::memcpy(features.values.data(), data, count * sizeof(float));
  }
  for (size_t row = 0; row < tokens; ++row) {
    const std::span<float> token = std::span(features.values).subspan(row * channels, channels);
    double sum = 0, squares = 0;
    for (const float value : token) sum += value;
    const double mean = sum / static_cast<double>(channels);
    for (const float value : token) squares += (value - mean) * (value - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(channels) + kLayerNormEps);
    for (float& value : token) value = static_cast<float>((value - mean) * scale);
  }
  return features;
}

// Of a grid that is as large as it must be.
FeatureRecord ReadRecord(const Activations& activations, int64_t image) {
  FeatureRecord record;
  record.grid =
      static_cast<uint32_t>(std::max(1.0, std::ceil(std::sqrt(static_cast<double>(activations.tokens - 1)))));
  record.view_size = record.grid;
  record.importance.assign(size_t{record.grid} * record.grid, 0.0f);
  for (int64_t token = 0; token < activations.tokens; ++token)
    record.tokens.push_back(static_cast<uint16_t>(token));
  uint32_t level = 0;
  for (const auto& [name, tensor] : activations.levels)
    record.levels.push_back(ReadLevel(tensor, ++level, image));
  return record;
}

// Bytes per second of copying a plane of f16.
double MemcpyRate(size_t bytes) {
  const std::vector<uint8_t> source(bytes, 1);
  std::vector<uint8_t> target(bytes);
  absl::Duration best = absl::InfiniteDuration();
  for (int i = 0; i < 30; ++i) {
    const absl::Duration start = ThreadCpuTime();
    std::memcpy(target.data(), source.data(), bytes);
    asm volatile("" : : "r"(target.data()) : "memory");  // it is wanted
    best = std::min(best, ThreadCpuTime() - start);
  }
  return static_cast<double>(bytes) / std::max(1e-9, absl::ToDoubleSeconds(best));
}

absl::Status RunCodecBench(const CodecBenchFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const Activations activations, ReadActivations(flags.input));
  const uint64_t samples = std::min<uint64_t>(flags.samples, static_cast<uint64_t>(activations.images));
  // Every second image is measured, the others are calibrated on; a single one is both.
  const bool both = samples == 1;
  std::vector<uint32_t> levels;
  for (size_t i = 0; i < activations.levels.size(); ++i) levels.push_back(static_cast<uint32_t>(i + 1));
  ProfileBuilder builder({}, levels, static_cast<uint32_t>(activations.channels));
  Progress progress({.label = "codec-bench",
                     .unit = "images",
                     .total = samples,
                     .style = flags.json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  uint64_t done = 0;
  const auto each = [&](uint64_t first, uint64_t limit, const auto& use) -> absl::Status {
    for (uint64_t image = first; image < samples && image / 2 < limit; image += 2) {
      if (StopRequested()) return absl::CancelledError("stopped");
      const absl::Status used = use(ReadRecord(activations, static_cast<int64_t>(image)));
      if (!used.ok()) return WithContext(used, absl::StrCat(flags.input, ", image ", image));
      progress.Update(++done);
    }
    return absl::OkStatus();
  };
  AFTERIMAGE_RETURN_IF_ERROR(
      each(0, samples, [&](const FeatureRecord& record) { return builder.Add(record); }));
  AFTERIMAGE_ASSIGN_OR_RETURN(FeatureProfile profile, builder.Finish());
  CalibrationReport report;
  report.profile = std::make_shared<const FeatureProfile>(std::move(profile));
  report.meters = MakeMeters(*report.profile);
  report.num_images = static_cast<uint64_t>(activations.images);
  report.source = flags.input;
  report.exact = "the file's numbers after an affine-free LayerNorm of each token";
  report.num_also_calibrated = both ? 1 : 0;
  AFTERIMAGE_RETURN_IF_ERROR(
      each(both ? 0 : 1, kMaxMeasuredRecords, [&](const FeatureRecord& record) -> absl::Status {
        for (CodecMeter& meter : report.meters) AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
        return absl::OkStatus();
      }));
  progress.Finish();
  if (!flags.png.empty()) AFTERIMAGE_RETURN_IF_ERROR(WriteRatePicture(report, flags.png));

  const double copied =
      MemcpyRate(static_cast<size_t>(activations.tokens * activations.channels) * sizeof(uint16_t));
  if (flags.json) {
    Json json = ToJson(report, std::nullopt);
    json["memcpy_bytes_per_second"] = copied;
    json["tensors"] = Json::array();
    for (const auto& [name, tensor] : activations.levels) json["tensors"].push_back(name);
    std::cout << JsonText(json) << "\n";
    return absl::OkStatus();
  }
  for (size_t i = 0; i < activations.levels.size(); ++i) {
    std::cout << absl::StrFormat("level %d: %s, %d x %d x %d\n", i + 1, activations.levels[i].first,
                                 activations.images, activations.tokens, activations.channels);
  }
  std::cout << ToText(report, std::nullopt)
            << absl::StrFormat("memcpy of a plane of f16: %.2f GB/s\n", copied / 1e9);
  return absl::OkStatus();
}

}  // namespace

void AddCodecBenchCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<CodecBenchFlags>();
  CLI::App* command = app.add_subcommand(
      "codec-bench",
      "every codec over activations of your own: bytes, errors, encode and decode rates, beside memcpy");
  command
      ->add_option(
          "--input", flags->input,
          "FILE.npy (one level), or FILE.safetensors with a tensor per level: images x tokens x channels")
      ->required();
  command
      ->add_option("--samples", flags->samples,
                   "images: every second one calibrates, the others are measured")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--png", flags->png, "write a picture of rates and errors to this file");
  command->add_flag("--json", flags->json, "one JSON line");
  command->callback([flags, &run] { run = [flags] { return RunCodecBench(*flags); }; });
}

}  // namespace afterimage::cli
