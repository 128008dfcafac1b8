#include <cstdio>
#include <memory>

#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"
#include "trainer/evaluation/knn_evaluation.h"

namespace afterimage::trainer {
namespace {

int Run(const KnnEvaluationOptions& options) {
  InstallStopSignalHandlers();
  const absl::StatusOr<KnnEvaluation> result = EvaluateKnn(options);
  if (!result.ok()) return FailCommand(result.status());
  std::printf("k-NN top-1 %.2f %%  (k %u, %llu training and %llu test images, %u channels)\n",
              100 * result->accuracy, options.k, static_cast<unsigned long long>(result->num_train),
              static_cast<unsigned long long>(result->num_test), result->width);
  return 0;
}

}  // namespace

void AddKnnCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand("knn", "k-NN accuracy of frozen features on labelled images.");
  auto options = std::make_shared<KnnEvaluationOptions>();
  KnnEvaluationOptions& o = *options;
  command->add_option("--weights", o.weights, "an exported student, or a teacher (.safetensors)");
  command->add_option("--images", o.images, "labelled images to compare with")->required();
  command->add_option("--test-images", o.test_images, "labelled images to classify")->required();
  command->add_option("--limit", o.limit, "take the first so many training images; 0 = all")
      ->capture_default_str();
  command->add_option("--k", o.k)->capture_default_str()->check(CLI::PositiveNumber);
  command->add_flag("--untrained", o.untrained, "the file's network with fresh weights instead");
  command->add_flag("--raw-pixels", o.raw_pixels, "the pixels instead of features");
  command->add_option("--image-size", o.image_size, "with --raw-pixels and no weights")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")->capture_default_str();
  command->callback([options, &chosen] { chosen = [options] { return Run(*options); }; });
}

}  // namespace afterimage::trainer
