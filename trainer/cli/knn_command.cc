#include <cstdio>
#include <memory>

#include "core/base/json_text.h"
#include "core/base/stop_signal.h"
#include "core/identity/canonical_spec.h"
#include "trainer/cli/command.h"
#include "trainer/evaluation/knn_evaluation.h"

namespace afterimage::trainer {
namespace {

void PrintJson(const KnnEvaluationOptions& options, const KnnEvaluation& result) {
  Json accuracies = Json::array();
  for (size_t i = 0; i < options.ks.size(); ++i)
    accuracies.push_back({{"k", options.ks[i]}, {"top1", result.accuracies[i]}});
  const Json report = {{"weights", options.weights},
                       {"images", options.images},
                       {"test_images", options.test_images},
                       {"temperature", options.temperature},
                       {"num_train", result.num_train},
                       {"num_test", result.num_test},
                       {"width", result.width},
                       {"knn", accuracies}};
  std::printf("%s\n", JsonText(report).c_str());
}

int Run(const KnnEvaluationOptions& options, bool json) {
  InstallStopSignalHandlers();
  const absl::StatusOr<KnnEvaluation> result = EvaluateKnn(options);
  if (!result.ok()) return FailCommand(result.status());
  if (json) {
    PrintJson(options, *result);
    return 0;
  }
  for (size_t i = 0; i < options.ks.size(); ++i) {
    std::printf("k-NN top-1 %.2f %%  (k %u, %llu training and %llu test images, %u channels)\n",
                100 * result->accuracies[i], options.ks[i],
                static_cast<unsigned long long>(result->num_train),
                static_cast<unsigned long long>(result->num_test), result->width);
  }
  return 0;
}

}  // namespace

void AddKnnCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand("knn", "k-NN accuracy of frozen features on labelled images.");
  auto options = std::make_shared<KnnEvaluationOptions>();
  auto json = std::make_shared<bool>(false);
  KnnEvaluationOptions& o = *options;
  command->add_option("--weights", o.weights, "an exported student, or a teacher (.safetensors)");
  command->add_option("--images", o.images, "labelled images to compare with")->required();
  command->add_option("--test-images", o.test_images, "labelled images to classify")->required();
  command->add_option("--limit", o.limit, "take the first so many training images; 0 = all")
      ->capture_default_str();
  command
      ->add_option("--k", o.ks, "numbers of neighbours, comma-separated: a result for each, from one search")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--temperature", o.temperature, "a neighbour's vote is exp(cosine / temperature)")
      ->capture_default_str();
  command->add_flag("--json", *json, "one JSON object instead of lines");
  command->add_flag("--untrained", o.untrained, "the file's network with fresh weights instead");
  command->add_flag("--raw-pixels", o.raw_pixels, "the pixels instead of features");
  command->add_option("--image-size", o.image_size, "with --raw-pixels and no weights")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command->add_option("--view-threads", o.view_threads, "that make views in the background")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->callback([options, json, &chosen] { chosen = [options, json] { return Run(*options, *json); }; });
}

}  // namespace afterimage::trainer
