#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/vit/teacher_batches.h"
#include "trainer/classify/labelled_data.h"
#include "trainer/cli/command.h"
#include "trainer/evaluation/classification.h"
#include "trainer/evaluation/classifier_file.h"
#include "trainer/model/classifier.h"

namespace afterimage::trainer {
namespace {

struct Options {
  std::string weights, images, device = "cpu";
  bool json = false;
  int num_threads = 0, view_threads = 1;
};

// Class names where the file keeps them, else their number must be the same.
absl::Status CheckClasses(const VitWeights& weights, const std::string& path, const ImageSource& source) {
  if (!weights.class_names.empty()) return CheckSameClasses(weights.class_names, path, source);
  const auto wanted = static_cast<size_t>(weights.parameters.at("head.weight").size(0));
  if (source.class_names().size() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(source.Description(), " has ", source.class_names().size(),
                                                 " classes, ", path, " was trained on ", wanted,
                                                 ": give images of the same classes"));
}

absl::StatusOr<ClassificationResult> Evaluate(const Options& options, std::vector<std::string>& class_names) {
  PrepareTorch(options.num_threads);
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  AFTERIMAGE_ASSIGN_OR_RETURN(VitWeights weights, LoadClassifier(options.weights));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto source, OpenImageSource(options.images));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*source));
  AFTERIMAGE_RETURN_IF_ERROR(CheckClasses(weights, options.weights, *source));
  class_names = source->class_names();
  for (auto& [name, tensor] : weights.parameters) tensor = tensor.to(device);
  AFTERIMAGE_ASSIGN_OR_RETURN(const PixelScaling scaling, ScalingOf(weights.pixels, device));
  Progress progress({.label = "evaluate", .unit = "images", .total = source->size()});
  uint64_t done = 0;
  const auto logits = [&](const at::Tensor& views) {
    const at::Tensor inputs = NormalizePixels(views.to(device), scaling.mean, scaling.deviation);
    return ClassifierLogits(weights.config, weights.parameters, ViewRows(inputs, weights.config.patch_size));
  };
  return EvaluateClassifier(*source, static_cast<uint32_t>(weights.config.image_size),
                            static_cast<int64_t>(class_names.size()), options.view_threads, logits,
                            [&](size_t count) { progress.Update(done += count); });
}

double Share(const ClassResult& result) {
  return result.num_images == 0
             ? 0
             : static_cast<double>(result.num_right) / static_cast<double>(result.num_images);
}

void PrintJson(const Options& options, const ClassificationResult& result,
               const std::vector<std::string>& class_names) {
  Json classes = Json::array();
  for (size_t i = 0; i < class_names.size(); ++i) {
    classes.push_back({{"name", class_names[i]},
                       {"num_images", result.classes[i].num_images},
                       {"top1", Share(result.classes[i])}});
  }
  const Json report = {
      {"weights", options.weights}, {"images", options.images}, {"num_images", result.num_images},
      {"top1", result.top1()},      {"top5", result.top5()},    {"loss", result.loss},
      {"classes", classes}};
  std::printf("%s\n", JsonText(report).c_str());
}

void PrintTable(const ClassificationResult& result, const std::vector<std::string>& class_names) {
  size_t width = 5;
  for (const std::string& name : class_names) width = std::max(width, name.size());
  std::printf("%-*s  images  top-1\n", static_cast<int>(width), "class");
  for (size_t i = 0; i < class_names.size(); ++i) {
    std::printf("%-*s  %6llu  %5.2f %%\n", static_cast<int>(width), class_names[i].c_str(),
                static_cast<unsigned long long>(result.classes[i].num_images),
                100 * Share(result.classes[i]));
  }
  std::printf("top-1 %.2f %%  top-5 %.2f %%  loss %.4f  (%llu images)\n", 100 * result.top1(),
              100 * result.top5(), result.loss, static_cast<unsigned long long>(result.num_images));
}

int Run(const Options& options) {
  InstallStopSignalHandlers();
  std::vector<std::string> class_names;
  const absl::StatusOr<ClassificationResult> result = Evaluate(options, class_names);
  if (!result.ok()) return FailCommand(result.status());
  if (options.json) {
    PrintJson(options, *result, class_names);
  } else {
    PrintTable(*result, class_names);
  }
  return 0;
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "evaluate", "Accuracy of a classifier on labelled images: top-1, top-5, loss, and per class.");
  auto options = std::make_shared<Options>();
  Options& o = *options;
  command
      ->add_option("--weights", o.weights,
                   "a run of `finetune`, `supervise` or `probe`, or its model.safetensors or checkpoint")
      ->required();
  command->add_option("--images", o.images, "labelled images of the classes that it was trained on")
      ->required();
  command->add_flag("--json", o.json, "one JSON object instead of a table");
  command->add_option("--device", o.device, "cpu, cuda, cuda:1")->capture_default_str();
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command->add_option("--view-threads", o.view_threads, "that make views in the background")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->callback([options, &chosen] { chosen = [options] { return Run(*options); }; });
}

}  // namespace afterimage::trainer
