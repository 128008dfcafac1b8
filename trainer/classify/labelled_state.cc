#include "trainer/classify/labelled_state.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/json_text.h"
#include "core/base/status_macros.h"
#include "trainer/checkpoint/checkpoint_network.h"
#include "trainer/checkpoint/same_config.h"
#include "trainer/checkpoint/shared_checkpoint.h"
#include "trainer/distributed/agreement.h"

namespace afterimage::trainer {
namespace {

// "3 classes (cat, dog, owl)", the first few.
std::string ClassesText(const Json& names) {
  constexpr size_t kMost = 5;
  std::string text = absl::StrCat(names.size(), names.size() == 1 ? " class (" : " classes (");
  for (size_t i = 0; i < std::min(kMost, names.size()); ++i)
    absl::StrAppend(&text, i > 0 ? ", " : "", names[i].is_string() ? names[i].get<std::string>() : "?");
  return absl::StrCat(text, names.size() > kMost ? ", …)" : ")");
}

}  // namespace

LabelledState::LabelledState(const LabelledOptions& options, const LabelledTask& task)
    : options_(options), task_(task) {
  if (options.ema > 0) average.emplace(task.model->parameters(), options.ema);
  precision = ParsePrecision(options.precision).value_or(Precision::kF32);  // checked with the options
  if (precision == Precision::kF16) scaler.emplace();
}

absl::Status LabelledState::CheckSameRun(const std::string& path, const std::string& config_before) const {
  const Json before = Json::parse(config_before, nullptr, /*allow_exceptions=*/false);
  if (before.is_object() && before.contains("classes") && before["classes"] != task_.config["classes"]) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " was trained on ", ClassesText(before["classes"]), ", the images have ",
                     ClassesText(task_.config["classes"]),
                     ": give images of the same classes, another --out, or --no-resume"));
  }
  return WithContext(CheckSameConfig(config_before, task_.config), path);
}

absl::Status LabelledState::GoOn(Communicator& ranks) {
  num_ranks_ = ranks.num_ranks();
  const absl::Status loaded = ranks.rank() == 0 ? Load() : absl::OkStatus();
  if (num_ranks_ == 1) return loaded;
  AFTERIMAGE_RETURN_IF_ERROR(AgreeOnStatus(ranks, loaded));
  Checkpoint shared = ToCheckpoint();  // its tensors are our own
  AFTERIMAGE_RETURN_IF_ERROR(ShareCheckpoint(shared, ranks));
  return ranks.rank() == 0 ? absl::OkStatus() : Adopt(std::move(shared), "the state of rank 0");
}

absl::Status LabelledState::Load() {
  const std::optional<std::string> path = options_.resume ? LatestCheckpoint(options_.out) : std::nullopt;
  if (!path.has_value()) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadLatestCheckpoint(*path));
  std::map<std::string, std::string> values = checkpoint.values;
  AFTERIMAGE_RETURN_IF_ERROR(CheckSameRun(*path, values["config"]));
  AFTERIMAGE_RETURN_IF_ERROR(Adopt(std::move(checkpoint), *path));
  std::fprintf(stderr, "going on from %s\n", path->c_str());
  WarnOfOther(values, "threads", absl::StrCat(at::get_num_threads()));
  WarnOfOther(values, "ranks", absl::StrCat(num_ranks_));
  return absl::OkStatus();
}

absl::Status LabelledState::Adopt(Checkpoint checkpoint, const std::string& where) {
  std::map<std::string, std::string>& values = checkpoint.values;
  AFTERIMAGE_RETURN_IF_ERROR(
      WithContext(CopyParameters(checkpoint.weights, task_.model->parameters()), where));
  AFTERIMAGE_RETURN_IF_ERROR(WithContext(task_.optimizer->LoadState(checkpoint.optimizer), where));
  if (average.has_value()) {
    AFTERIMAGE_RETURN_IF_ERROR(WithContext(CopyParameters(checkpoint.average, average->values()), where));
  }
  if (scaler.has_value()) {
    const absl::StatusOr<LossScaler> read = LossScaler::Parse(values[kLossScaleValue]);
    if (!read.ok()) return WithContext(read.status(), where);
    scaler = *read;
  }
  step = checkpoint.step;
  const bool complete = absl::SimpleAtod(values["elapsed_seconds"], &elapsed_before_) &&
                        absl::SimpleAtod(values["warmup_ended_seconds"], &warmup_ended) &&
                        absl::SimpleAtoi(values["evaluated_at"], &evaluated_at) &&
                        absl::SimpleAtoi(values["best_at"], &best_at) &&
                        absl::SimpleAtoi(values["best_top1_count"], &best_top1_count) &&
                        absl::SimpleAtoi(values["num_test_images"], &num_test_images);
  return complete ? absl::OkStatus()
                  : absl::DataLossError(absl::StrCat(where, ": what it says of its run is not whole"));
}

Checkpoint LabelledState::ToCheckpoint() const {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.weights = task_.model->parameters();
  checkpoint.optimizer = task_.optimizer->State();
  if (average.has_value()) checkpoint.average = average->values();
  checkpoint.values = {{"config", task_.config.dump()},
                       {"elapsed_seconds", DecimalText(Elapsed())},
                       {"warmup_ended_seconds", DecimalText(warmup_ended)},
                       {"evaluated_at", absl::StrCat(evaluated_at)},
                       {"best_at", absl::StrCat(best_at)},
                       {"best_top1_count", absl::StrCat(best_top1_count)},
                       {"num_test_images", absl::StrCat(num_test_images)},
                       {"threads", absl::StrCat(at::get_num_threads())},
                       {"ranks", absl::StrCat(num_ranks_)}};
  if (scaler.has_value()) checkpoint.values[kLossScaleValue] = scaler->Serialize();
  // Of a frozen network only the head is here: model.safetensors has the whole.
  const VitWeights network = task_.model->Network(checkpoint.weights);
  if (network.parameters.size() == checkpoint.weights.size()) {
    checkpoint.values[kNetworkValue] = NetworkText(network);
  }
  return checkpoint;
}

ParameterMap LabelledState::ExportedParameters() const {
  ParameterMap exported = task_.model->parameters();
  if (average.has_value()) {
    for (const auto& [name, tensor] : average->values()) exported[name] = tensor;
  }
  const at::ScalarType type = options_.export_dtype == "f16" ? at::kHalf : at::kFloat;
  for (auto& [name, tensor] : exported) tensor = tensor.detach().to(type).to(at::kFloat);
  return exported;
}

absl::Status LabelledState::WriteConfig() const {
  Json json = task_.about;
  json["command"] = task_.command;
  json["recipe"] = options_.recipe;
  json["config"] = task_.config;
  return WriteFileAtomically(options_.out + "/config.json", JsonText(json, 2) + "\n");
}

absl::StatusOr<std::string> LabelledState::WriteNetwork(const std::string& name) const {
  const std::string path = absl::StrCat(options_.out, "/", name);
  AFTERIMAGE_RETURN_IF_ERROR(
      SaveVitWeights(path, task_.model->Network(ExportedParameters()), options_.export_dtype));
  return path;
}

absl::Status LabelledState::WriteSummary(const LabelledSummary& summary, double images_per_second,
                                         double wait_share) const {
  Json report = task_.about;
  report["command"] = task_.command;
  report["config"] = task_.config;
  report["steps"] = summary.steps;
  report["epochs"] = summary.epochs;
  report["minutes"] = summary.minutes;
  report["train_loss"] = summary.train_loss;
  if (summary.test.has_value()) {
    report["test_images"] = summary.test->num_images;
    report["test_top1"] = summary.test->top1();
    report["test_top5"] = summary.test->top5();
    report["test_loss"] = summary.test->loss;
    report["best_test_top1"] = summary.best_top1;
    report["best_epoch"] = summary.best_epoch;
  }
  report["images_per_second"] = images_per_second;
  report["wait_share"] = wait_share;
  if (scaler.has_value()) report["skipped_updates"] = scaler->num_skipped();
  report["threads"] = at::get_num_threads();
  report["ranks"] = num_ranks_;
  report["device"] = options_.device;
  report["stopped"] = summary.stopped;
  return WriteFileAtomically(options_.out + "/summary.json", JsonText(report, 2) + "\n");
}

}  // namespace afterimage::trainer
