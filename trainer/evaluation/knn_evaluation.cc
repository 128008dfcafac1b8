#include "trainer/evaluation/knn_evaluation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "core/analysis/knn.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/image/image_source.h"
#include "core/view/view.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/torch_status.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/model/classifier.h"
#include "trainer/model/vit_init.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {
namespace {

// Each part of each row to mean 0 and deviation 1: no channel of a residual stream outweighs the others' sum,
// and both parts count alike.
void StandardizeParts(std::vector<float>& rows, size_t part_width) {
  for (size_t begin = 0; begin < rows.size(); begin += part_width) {
    const std::span<float> part(rows.data() + begin, part_width);
    double sum = 0, squares = 0;
    for (const float value : part) {
      sum += value;
      squares += double{value} * value;
    }
    const double mean = sum / static_cast<double>(part_width);
    const double deviation =
        std::sqrt(std::max(0.0, squares / static_cast<double>(part_width) - mean * mean) + 1e-12);
    for (float& value : part) value = static_cast<float>((value - mean) / deviation);
  }
}

struct Features {
  std::vector<float> rows;  // all pictures, one after the other
  std::vector<int32_t> labels;
};

using Batch = LabelledViewLoader::Batch;

// Turns views into rows of equal width.
class Embedder {
 public:
  static absl::StatusOr<Embedder> Create(const KnnEvaluationOptions& options) {
    Embedder embedder;
    embedder.raw_ = options.raw_pixels;
    embedder.size_ = options.image_size;
    if (options.untrained) {
      AFTERIMAGE_ASSIGN_OR_RETURN(VitWeights weights, LoadVitWeights(options.weights));
      weights.parameters = NewVit(weights.config, /*seed=*/0);
      AFTERIMAGE_ASSIGN_OR_RETURN(embedder.mean_, ParseTriple(weights.pixels.mean));
      AFTERIMAGE_ASSIGN_OR_RETURN(embedder.deviation_, ParseTriple(weights.pixels.deviation));
      embedder.size_ = static_cast<uint32_t>(weights.config.image_size);
      embedder.untrained_ = std::move(weights);
    } else if (!options.weights.empty()) {
      TeacherOptions teacher;
      teacher.weights = options.weights;
      teacher.micro_batch = 64;
      AFTERIMAGE_ASSIGN_OR_RETURN(embedder.runner_, TeacherRunner::Load(teacher));
      embedder.size_ = embedder.runner_->view_size();
    }
    return embedder;
  }

  uint32_t view_size() const { return size_; }

  absl::StatusOr<std::vector<float>> Embed(const Batch& batch) {
    if (raw_) {
      std::vector<float> rows(batch.pixels.begin(), batch.pixels.end());
      StandardizeParts(rows, rows.size() / batch.size);
      return rows;
    }
    auto rows = untrained_.has_value() ? EmbedUntrained(batch) : EmbedWithRunner(batch);
    AFTERIMAGE_RETURN_IF_ERROR(rows.status());
    StandardizeParts(*rows, rows->size() / batch.size / 2);
    return rows;
  }

 private:
  absl::StatusOr<std::vector<float>> EmbedUntrained(const Batch& batch) const {
    return RunTorch([&] {
      c10::NoGradGuard no_grad;
      const int64_t size = size_;
      const at::Tensor pixels = at::from_blob(const_cast<uint8_t*>(batch.pixels.data()),
                                              {static_cast<int64_t>(batch.size), size, size, 3}, at::kByte);
      const at::Tensor last =
          VitForward(untrained_->config, untrained_->parameters,
                     ViewRows(NormalizePixels(pixels, mean_, deviation_), untrained_->config.patch_size))
              .hidden.back();
      const at::Tensor both = at::cat({last.select(1, 0), last.slice(1, 1).mean(1)}, 1).contiguous();
      return std::vector<float>(both.const_data_ptr<float>(), both.const_data_ptr<float>() + both.numel());
    });
  }

  absl::StatusOr<std::vector<float>> EmbedWithRunner(const Batch& batch) {
    const size_t bytes = batch.pixels.size() / batch.size;
    std::vector<View> views(batch.size);
    for (size_t i = 0; i < views.size(); ++i) {
      const uint8_t* const pixels = batch.pixels.data() + i * bytes;
      views[i].pixels = {size_, size_, std::vector<uint8_t>(pixels, pixels + bytes)};
    }
    return runner_->Embed(views);
  }

  bool raw_ = false;
  uint32_t size_ = 0;
  std::optional<VitWeights> untrained_;
  at::Tensor mean_, deviation_;
  std::unique_ptr<TeacherRunner> runner_;
};

absl::StatusOr<Features> ComputeFeatures(const ImageSource& source, int num_threads, Embedder& embedder,
                                         Progress& progress, uint64_t& num_embedded) {
  Features features;
  AFTERIMAGE_RETURN_IF_ERROR(ForEachEvaluationBatch(
      source, embedder.view_size(), num_threads, [&](const Batch& batch) -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<float> rows, embedder.Embed(batch));
        features.rows.insert(features.rows.end(), rows.begin(), rows.end());
        features.labels.insert(features.labels.end(), batch.labels.begin(), batch.labels.end());
        progress.Update(num_embedded += batch.size);
        return StopRequested() ? absl::CancelledError("stopped while features were computed")
                               : absl::OkStatus();
      }));
  return features;
}

absl::Status CheckOptions(const KnnEvaluationOptions& options, size_t num_train) {
  if (options.ks.empty()) return absl::InvalidArgumentError("--k names no number of neighbours");
  for (const uint32_t k : options.ks) {
    if (k > 0 && k <= num_train) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--k ", k, ": there are ", num_train, " training images, and 1 to ", num_train,
        " of them can be the nearest; give smaller numbers, e.g. --k ", std::min<size_t>(20, num_train)));
  }
  if (!(options.temperature > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--temperature ", options.temperature, " is not above 0; DINO's is 0.07"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KnnEvaluation> EvaluateKnn(const KnnEvaluationOptions& options) {
  if (options.weights.empty() && !options.raw_pixels)
    return absl::InvalidArgumentError("give --weights FILE, or --raw-pixels");
  if (options.raw_pixels && options.untrained)
    return absl::InvalidArgumentError("--raw-pixels and --untrained exclude each other");
  if (options.num_threads > 0) at::set_num_threads(options.num_threads);
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto train_source, OpenImageSource(options.images, options.limit));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto test_source, OpenImageSource(options.test_images));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*train_source));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*test_source));
  if (train_source->class_names() != test_source->class_names()) {
    return absl::InvalidArgumentError(absl::StrCat("the classes of ", test_source->Description(),
                                                   " are not those of ", train_source->Description()));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckOptions(options, train_source->size()));
  AFTERIMAGE_ASSIGN_OR_RETURN(Embedder embedder, Embedder::Create(options));
  Progress progress({.label = "knn", .unit = "images", .total = train_source->size() + test_source->size()});
  uint64_t num_embedded = 0;
  const auto compute = [&](const ImageSource& source) {
    return ComputeFeatures(source, options.view_threads, embedder, progress, num_embedded);
  };
  AFTERIMAGE_ASSIGN_OR_RETURN(const Features train, compute(*train_source));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Features test, compute(*test_source));
  progress.Finish();
  KnnEvaluation result;
  result.num_train = train.labels.size();
  result.num_test = test.labels.size();
  result.width = static_cast<uint32_t>(train.rows.size() / train.labels.size());
  const KnnOptions search = {.temperature = options.temperature,
                             .num_threads = static_cast<uint32_t>(std::max(0, options.num_threads))};
  AFTERIMAGE_ASSIGN_OR_RETURN(
      result.accuracies,
      KnnAccuracies(train.rows, train.labels, test.rows, test.labels, result.width,
                    static_cast<uint32_t>(train_source->class_names().size()), options.ks, search));
  return result;
}

}  // namespace afterimage::trainer
