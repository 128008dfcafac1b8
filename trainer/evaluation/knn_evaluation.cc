#include "trainer/evaluation/knn_evaluation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
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

constexpr size_t kBatch = 256;
constexpr int kViewThreads = 2;

// Called after each batch with its size; an error ends the work.
using BatchDone = std::function<absl::Status(size_t)>;

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

// Fresh weights of the architecture of a file that we wrote.
absl::StatusOr<std::vector<float>> EmbedUntrained(const VitWeights& weights, const EvaluationViews& views,
                                                  const BatchDone& batch_done) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor mean, ParseTriple(weights.pixels.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor deviation, ParseTriple(weights.pixels.deviation));
  return RunTorch([&]() -> absl::StatusOr<std::vector<float>> {
    c10::NoGradGuard no_grad;
    const ParameterMap fresh = NewVit(weights.config, /*seed=*/0);
    const int64_t size = views.size;
    std::vector<float> rows;
    for (size_t begin = 0; begin < views.count; begin += kBatch) {
      const auto count = static_cast<int64_t>(std::min(kBatch, views.count - begin));
      const at::Tensor pixels =
          at::from_blob(const_cast<uint8_t*>(views.pixels.data()) + begin * size * size * 3,
                        {count, size, size, 3}, at::kByte);
      const at::Tensor last =
          VitForward(weights.config, fresh, InputRows(pixels, weights.config.patch_size, mean, deviation))
              .hidden.back();
      const at::Tensor both = at::cat({last.select(1, 0), last.slice(1, 1).mean(1)}, 1).contiguous();
      rows.insert(rows.end(), both.const_data_ptr<float>(), both.const_data_ptr<float>() + both.numel());
      AFTERIMAGE_RETURN_IF_ERROR(batch_done(static_cast<size_t>(count)));
    }
    return rows;
  });
}

absl::StatusOr<std::vector<float>> EmbedWithRunner(TeacherRunner& runner, const EvaluationViews& views,
                                                   const BatchDone& batch_done) {
  const size_t bytes = size_t{3} * views.size * views.size;
  std::vector<float> rows;
  for (size_t begin = 0; begin < views.count; begin += kBatch) {
    std::vector<View> batch(std::min(kBatch, views.count - begin));
    for (size_t i = 0; i < batch.size(); ++i) {
      const uint8_t* pixels = views.pixels.data() + (begin + i) * bytes;
      batch[i].pixels = {views.size, views.size, std::vector<uint8_t>(pixels, pixels + bytes)};
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<float> some, runner.Embed(batch));
    rows.insert(rows.end(), some.begin(), some.end());
    AFTERIMAGE_RETURN_IF_ERROR(batch_done(batch.size()));
  }
  return rows;
}

// Turns views into rows of equal width.
class Embedder {
 public:
  static absl::StatusOr<Embedder> Create(const KnnEvaluationOptions& options) {
    Embedder embedder;
    embedder.raw_ = options.raw_pixels;
    embedder.size_ = options.image_size;
    if (options.untrained) {
      AFTERIMAGE_ASSIGN_OR_RETURN(embedder.untrained_, LoadVitWeights(options.weights));
      embedder.size_ = static_cast<uint32_t>(embedder.untrained_->config.image_size);
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

  absl::StatusOr<std::vector<float>> Embed(const EvaluationViews& views, const BatchDone& batch_done) {
    if (raw_) {
      std::vector<float> rows(views.pixels.begin(), views.pixels.end());
      StandardizeParts(rows, rows.size() / views.count);
      return rows;
    }
    auto rows = untrained_.has_value() ? EmbedUntrained(*untrained_, views, batch_done)
                                       : EmbedWithRunner(*runner_, views, batch_done);
    AFTERIMAGE_RETURN_IF_ERROR(rows.status());
    StandardizeParts(*rows, rows->size() / views.count / 2);
    return rows;
  }

 private:
  bool raw_ = false;
  uint32_t size_ = 0;
  std::optional<VitWeights> untrained_;
  std::unique_ptr<TeacherRunner> runner_;
};

absl::Status CheckLabelled(const ImageSource& source) {
  for (size_t i = 0; i < source.size(); ++i) {
    if (!source.entry(i).label.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source.Description(), ": ", source.entry(i).name, " has no label"));
    }
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
  AFTERIMAGE_ASSIGN_OR_RETURN(Embedder embedder, Embedder::Create(options));
  AFTERIMAGE_ASSIGN_OR_RETURN(const EvaluationViews train,
                              LoadEvaluationViews(*train_source, embedder.view_size(), kViewThreads));
  AFTERIMAGE_ASSIGN_OR_RETURN(const EvaluationViews test,
                              LoadEvaluationViews(*test_source, embedder.view_size(), kViewThreads));
  Progress progress({.label = "knn", .unit = "images", .total = train.count + test.count});
  uint64_t num_embedded = 0;
  const auto batch_done = [&](size_t count) -> absl::Status {
    progress.Update(num_embedded += count);
    return StopRequested() ? absl::CancelledError("stopped while features were computed") : absl::OkStatus();
  };
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<float> train_rows, embedder.Embed(train, batch_done));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<float> test_rows, embedder.Embed(test, batch_done));
  progress.Finish();
  KnnEvaluation result;
  result.num_train = train.count;
  result.num_test = test.count;
  result.width = static_cast<uint32_t>(train_rows.size() / train.count);
  AFTERIMAGE_ASSIGN_OR_RETURN(
      result.accuracy, KnnAccuracy(train_rows, train.labels, test_rows, test.labels, result.width,
                                   static_cast<uint32_t>(train_source->class_names().size()), options.k));
  return result;
}

}  // namespace afterimage::trainer
