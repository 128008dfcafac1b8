#include "trainer/supervise/supervised_trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/image/image_source.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/data/labelled_view_loader.h"
#include "trainer/model/classifier.h"
#include "trainer/model/drop_path.h"
#include "trainer/model/vit_init.h"
#include "trainer/model/weights_file.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/schedule.h"
#include "trainer/run/best_epoch.h"
#include "trainer/run/checkpoint_keeper.h"
#include "trainer/run/message_box.h"
#include "trainer/run/run_records.h"
#include "trainer/run/step_clock.h"

namespace afterimage::trainer {
namespace {

class SupervisedTrainer {
 public:
  explicit SupervisedTrainer(const SupervisedOptions& options) : options_(options) {}

  absl::Status Prepare();
  absl::StatusOr<SupervisedSummary> Run();

 private:
  Json Configuration() const;
  absl::Status Resume();
  Checkpoint State() const;
  // The network as the exported file holds it: rounded to its type.
  VitWeights Rounded() const;
  double RateAt(double epoch);
  double Elapsed() const { return absl::ToDoubleSeconds(absl::Now() - start_) + elapsed_before_; }
  bool Finished() const;
  absl::StatusOr<double> Evaluate() const;

  const SupervisedOptions options_;
  std::unique_ptr<ImageSource> source_;
  EvaluationViews test_;
  std::unique_ptr<LabelledViewLoader> loader_;
  VitWeights weights_;
  at::Tensor mean_, deviation_;
  std::unique_ptr<AdamW> optimizer_;
  uint64_t step_ = 0;
  BestEpoch epochs_;
  bool resumed_ = false;
  absl::Time start_;
  double elapsed_before_ = 0;  // seconds, in the parts that ended with a checkpoint
  double warmup_ended_ = -1;   // seconds; with a duration only
};

Json SupervisedTrainer::Configuration() const {
  return {{"image_size", options_.image_size},
          {"patch_size", options_.patch_size},
          {"width", options_.width},
          {"depth", options_.depth},
          {"heads", options_.heads},
          {"mean", options_.mean},
          {"std", options_.deviation},
          {"min_area", {options_.min_area.numerator, options_.min_area.denominator}},
          {"flip", options_.flip},
          {"batch_size", options_.batch_size},
          {"lr", DecimalText(options_.lr)},
          {"min_lr", DecimalText(options_.min_lr)},
          {"weight_decay", DecimalText(options_.weight_decay)},
          {"warmup_epochs", DecimalText(options_.warmup_epochs)},
          {"label_smoothing", DecimalText(options_.label_smoothing)},
          {"drop_path", DecimalText(options_.drop_path)},
          {"epochs", options_.duration > absl::ZeroDuration() ? 0 : options_.epochs},
          {"seconds", absl::ToInt64Seconds(options_.duration)},
          {"seed", options_.seed}};
}

absl::Status SupervisedTrainer::Prepare() {
  if (options_.num_threads > 0) at::set_num_threads(options_.num_threads);
  VitConfig& config = weights_.config;
  config.image_size = options_.image_size;
  config.patch_size = options_.patch_size;
  config.width = options_.width;
  config.depth = options_.depth;
  config.heads = options_.heads;
  config.mlp_width = 4 * options_.width;
  AFTERIMAGE_RETURN_IF_ERROR(config.Validate());
  weights_.pixels = {options_.mean, options_.deviation};
  AFTERIMAGE_ASSIGN_OR_RETURN(mean_, ParseTriple(options_.mean));
  AFTERIMAGE_ASSIGN_OR_RETURN(deviation_, ParseTriple(options_.deviation));

  AFTERIMAGE_ASSIGN_OR_RETURN(source_, OpenImageSource(options_.images));
  const auto num_classes = static_cast<int64_t>(source_->class_names().size());
  if (!options_.test_images.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto test_source, OpenImageSource(options_.test_images));
    if (test_source->class_names() != source_->class_names()) {
      return absl::InvalidArgumentError(absl::StrCat("the classes of ", test_source->Description(),
                                                     " are not those of ", source_->Description()));
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(
        test_, LoadEvaluationViews(*test_source, options_.image_size, options_.view_threads + 1));
  }

  weights_.parameters = NewVit(config, options_.seed);
  AddHead(weights_.parameters, num_classes, options_.seed);
  for (auto& [name, parameter] : weights_.parameters) parameter.set_requires_grad(true);
  optimizer_ = std::make_unique<AdamW>(weights_.parameters,
                                       AdamW::Options{.beta2 = 0.999, .weight_decay = options_.weight_decay});
  if (options_.resume) AFTERIMAGE_RETURN_IF_ERROR(Resume());

  LabelledViewLoader::Options loading;
  loading.view.size = options_.image_size;
  loading.view.min_area = options_.min_area;
  if (!options_.flip) loading.view.flip_probability = {0, 1};
  loading.batch_size = options_.batch_size;
  loading.seed = options_.seed;
  loading.first_step = step_;
  loading.num_threads = options_.view_threads;
  AFTERIMAGE_ASSIGN_OR_RETURN(loader_, LabelledViewLoader::Open(source_.get(), loading));
  return absl::OkStatus();
}

absl::Status SupervisedTrainer::Resume() {
  const std::optional<std::string> path = LatestCheckpoint(options_.out);
  if (!path.has_value()) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadLatestCheckpoint(*path));
  const Json before = Json::parse(checkpoint.values["config"], nullptr, false);
  const Json now = Configuration();
  for (const auto& [key, value] : now.items()) {
    if (before.is_object() && before.contains(key) && before[key] == value) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(*path, " was trained with another \"", key, "\" (", before.value(key, Json()).dump(),
                     ", now ", value.dump(), "): use the same options, another --out, or --no-resume"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(CopyParameters(checkpoint.weights, weights_.parameters), *path));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(optimizer_->LoadState(checkpoint.optimizer), *path));
  step_ = checkpoint.step;
  resumed_ = true;
  if (checkpoint.values.contains("epoch")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(epochs_, BestEpoch::Parse(checkpoint.values["epoch"]));
  }
  if (!absl::SimpleAtod(checkpoint.values["elapsed_seconds"], &elapsed_before_) ||
      !absl::SimpleAtod(checkpoint.values["warmup_ended_seconds"], &warmup_ended_)) {
    return absl::DataLossError(absl::StrCat(*path, ": the elapsed time is missing"));
  }
  std::fprintf(stderr, "going on from %s\n", path->c_str());
  return absl::OkStatus();
}

Checkpoint SupervisedTrainer::State() const {
  Checkpoint checkpoint;
  checkpoint.step = step_;
  checkpoint.weights = weights_.parameters;
  checkpoint.optimizer = optimizer_->State();
  checkpoint.values = {{"config", Configuration().dump()},
                       {"epoch", epochs_.Serialize()},
                       {"elapsed_seconds", DecimalText(Elapsed())},
                       {"warmup_ended_seconds", DecimalText(warmup_ended_)}};
  return checkpoint;
}

VitWeights SupervisedTrainer::Rounded() const {
  VitWeights rounded = weights_;
  const at::ScalarType type = options_.export_dtype == "f16" ? at::kHalf : at::kFloat;
  for (auto& [name, tensor] : rounded.parameters) tensor = tensor.detach().to(type).to(at::kFloat);
  return rounded;
}

double SupervisedTrainer::RateAt(double epoch) {
  if (options_.duration == absl::ZeroDuration() || epoch < options_.warmup_epochs) {
    return WarmupCosine{options_.lr, options_.min_lr, options_.warmup_epochs,
                        static_cast<double>(options_.epochs)}
        .At(epoch);
  }
  if (warmup_ended_ < 0) warmup_ended_ = Elapsed();
  return WarmupCosine{options_.lr, options_.min_lr, warmup_ended_, absl::ToDoubleSeconds(options_.duration)}
      .At(Elapsed());
}

bool SupervisedTrainer::Finished() const {
  if (options_.duration > absl::ZeroDuration()) return Elapsed() >= absl::ToDoubleSeconds(options_.duration);
  return step_ >= options_.epochs * loader_->steps_per_epoch();
}

absl::StatusOr<double> SupervisedTrainer::Evaluate() const {
  if (test_.count == 0) return -1.0;
  return Top1Accuracy(Rounded(), test_);
}

absl::StatusOr<SupervisedSummary> SupervisedTrainer::Run() {
  const uint64_t per_epoch = loader_->steps_per_epoch();
  const int64_t batch_size = static_cast<int64_t>(options_.batch_size);
  const int64_t size = options_.image_size;
  const bool timed = options_.duration > absl::ZeroDuration();
  Progress progress({.label = "supervise",
                     .unit = "images",
                     .total = timed ? 0 : options_.epochs * per_epoch * options_.batch_size,
                     .already_done = step_ * options_.batch_size});
  MessageBox messages;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto records,
                              RunRecords::Open({.folder = options_.out,
                                                .next_step = step_,
                                                .last_step = timed ? 0 : options_.epochs * per_epoch,
                                                .messages = &messages}));
  CheckpointKeeper keeper({.folder = options_.out, .messages = &messages});
  const auto keep = [this] { return CheckpointKeeper::Keep{.best = epochs_.best_step() == step_}; };
  if (resumed_) AFTERIMAGE_RETURN_IF_ERROR(keeper.Resume(step_, keep()));
  StepClock clock(options_.batch_size);
  start_ = absl::Now();
  SupervisedSummary summary;
  double loss_sum = 0;
  uint64_t loss_count = 0;

  while (!Finished() && !StopRequested()) {
    // 1. The rate of this step.
    const double epoch = static_cast<double>(step_) / static_cast<double>(per_epoch);
    const double lr = RateAt(epoch);

    // 2. A batch of views, made in the background.
    clock.BeginStep();
    AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledViewLoader::Batch* batch, loader_->Next());
    clock.InputIsReady();
    const at::Tensor pixels =
        at::from_blob(const_cast<uint8_t*>(batch->pixels.data()), {batch_size, size, size, 3}, at::kByte);
    const at::Tensor labels =
        at::from_blob(const_cast<int64_t*>(batch->labels.data()), {batch_size}, at::kLong);

    // 3. Forward, loss, backward, update.
    const at::Tensor rows = InputRows(pixels, options_.patch_size, mean_, deviation_);
    const at::Tensor logits = ClassifierLogits(
        weights_.config, weights_.parameters, rows,
        DropPathFactors(options_.drop_path, options_.depth, batch_size, options_.seed, step_));
    const at::Tensor loss =
        at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, -100, options_.label_smoothing);
    loss.backward();
    optimizer_->Step(lr);
    loader_->Release(batch);
    const double value = loss.item<double>();
    clock.EndStep();

    // 4. What people see.
    if (!std::isfinite(value))
      return absl::InternalError(absl::StrCat("the loss is not finite at step ", step_));
    records->Step({.step = step_,
                   .epoch = epoch,
                   .loss = static_cast<float>(value),
                   .lr = lr,
                   .images_per_second = clock.step_images_per_second(),
                   .wait_share = clock.step_wait_share(),
                   .num_samples = options_.batch_size});
    ++step_;
    epochs_.Add(value, options_.batch_size);
    loss_sum += value;
    ++loss_count;
    std::string detail =
        absl::StrFormat("epoch %.2f  loss %.4f  lr %.2e  input wait %.1f %%", epoch,
                        loss_sum / static_cast<double>(loss_count), lr, 100 * clock.wait_share());
    if (timed)
      absl::StrAppend(&detail, "  left ", HumanDuration(options_.duration - absl::Seconds(Elapsed())));
    records->FlushNowAndThen();
    messages.Print(progress);
    progress.Update(step_ * options_.batch_size, detail);

    if (step_ % per_epoch != 0) continue;
    AFTERIMAGE_ASSIGN_OR_RETURN(const double accuracy, Evaluate());
    progress.Message(absl::StrFormat("epoch %d  loss %.4f  test top-1 %.2f %%  after %.1f min",
                                     step_ / per_epoch, loss_sum / static_cast<double>(loss_count),
                                     100 * accuracy, Elapsed() / 60));
    if (accuracy >= 0) {
      epochs_.EndWith(step_, -accuracy);
      records->Values(step_ - 1, std::vector<NamedValue>{{"test/top1", accuracy}});
    } else {
      epochs_.End(step_);
    }
    records->TryFlush();
    AFTERIMAGE_RETURN_IF_ERROR(keeper.Save(State(), keep()));
    summary.train_loss = loss_sum / static_cast<double>(loss_count);
    loss_sum = 0;
    loss_count = 0;
  }
  progress.Finish();
  if (loss_count > 0) summary.train_loss = loss_sum / static_cast<double>(loss_count);
  const absl::Status recorded = records->Flush();
  const absl::StatusOr<std::string> last = keeper.Finish(State(), keep());
  messages.Print(progress);
  if (!last.ok()) return LastStateLost(last.status(), options_.out);
  AFTERIMAGE_RETURN_IF_ERROR(recorded);

  summary.stopped = !Finished();
  summary.steps = step_;
  summary.epochs = step_ / per_epoch;
  summary.minutes = Elapsed() / 60;
  summary.weights = absl::StrCat(options_.out, "/model.safetensors");
  AFTERIMAGE_RETURN_IF_ERROR(SaveVitWeights(summary.weights, weights_, options_.export_dtype));
  AFTERIMAGE_ASSIGN_OR_RETURN(summary.test_accuracy, Evaluate());
  Json report = Configuration();
  report["images"] = source_->Description();
  report["steps"] = summary.steps;
  report["minutes"] = summary.minutes;
  report["train_loss"] = summary.train_loss;
  report["test_accuracy"] = summary.test_accuracy;
  report["test_images"] = test_.count;
  report["export_dtype"] = options_.export_dtype;
  report["threads"] = at::get_num_threads();
  report["stopped"] = summary.stopped;
  AFTERIMAGE_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(options_.out, "/summary.json"), report.dump(2) + "\n"));
  return summary;
}

}  // namespace

absl::StatusOr<SupervisedSummary> TrainSupervised(const SupervisedOptions& options) {
  if (options.export_dtype != "f32" && options.export_dtype != "f16") {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown export type \"", options.export_dtype, "\": f32 and f16 are known"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(options.out));
  SupervisedTrainer trainer(options);
  AFTERIMAGE_RETURN_IF_ERROR(trainer.Prepare());
  return trainer.Run();
}

}  // namespace afterimage::trainer
