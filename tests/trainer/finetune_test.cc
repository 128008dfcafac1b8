// Fine-tuning, probing and evaluation on pictures that a small network can tell apart.
#include "trainer/finetune/finetune.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/stop_signal.h"
#include "core/order/stall_rows.h"
#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/small_world.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/export_network.h"
#include "trainer/classify/start_network.h"
#include "trainer/evaluation/classifier_file.h"
#include "trainer/evaluation/knn_evaluation.h"
#include "trainer/probe/probe.h"
#include "trainer/supervise/supervised_trainer.h"

namespace afterimage::trainer {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FinetuneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ResetStopForTest();
    testing::WriteImages(Path("train"), {.num_images = 64});
    testing::WriteImages(Path("test"), {.num_images = 32, .seed = 2});
    testing::WriteTeacher(Path("student.safetensors"));
  }
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  void Fill(LabelledOptions& run, const std::string& out) const {
    run.images = Path("train");
    run.test_images = Path("test");
    run.out = Path(out);
    run.batch_size = 16;
    run.epochs = 8;
    run.warmup_epochs = 1;
    run.lr = 5e-3;
    run.min_area = {4, 5};
    run.flip = false;  // left and right are the classes
    run.num_threads = 1;
  }
  // All that is random is on, but for what makes the classes the same.
  FinetuneOptions Options(const std::string& out) const {
    FinetuneOptions options;
    options.start.network.weights = Path("student.safetensors");
    options.layer_decay = 0.9;
    options.drop_path = 0.05;
    Fill(options.run, out);
    options.run.rand_augment = "rand-m3-mstd0.5-p0.3-inc1";
    options.run.random_erasing = 0.1;
    options.run.mix = {.mixup_alpha = 0.2, .cutmix_alpha = 0.2, .probability = 0.5};
    return options;
  }
  std::string Bytes(const std::string& file) const {
    const absl::StatusOr<std::string> bytes = ReadFile(Path(file));
    EXPECT_THAT(bytes.status(), IsOk());
    return bytes.value_or("");
  }
  // The exact part of a run's metrics.
  std::vector<std::string> Metrics(const std::string& run) const {
    std::vector<std::string> lines;
    for (const absl::string_view line :
         absl::StrSplit(Bytes(run + "/metrics.jsonl"), '\n', absl::SkipEmpty())) {
      Json json = Json::parse(line.begin(), line.end());
      json.erase("images_per_s");
      json.erase("wait_share");
      json.erase("step_s");
      json.erase("stall_s");
      lines.push_back(json.dump());
    }
    return lines;
  }
  const afterimage::testing::TemporaryFolder folder_;
};

TEST_F(FinetuneTest, LearnsAndTheModelIsEvaluatedAndExported) {
  FinetuneOptions options = Options("run");
  options.run.export_dtype = "f16";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary summary, Finetune(options));
  EXPECT_EQ(summary.steps, 32u);
  ASSERT_TRUE(summary.test.has_value());
  EXPECT_GT(summary.test->top1(), 0.9);
  EXPECT_EQ(summary.test->num_images, 32u);
  EXPECT_EQ(summary.test->top5(), 1.0);  // there are two classes
  EXPECT_GE(summary.best_top1, summary.test->top1());
  for (const char* file : {"config.json", "summary.json", "best_model.safetensors", "best.safetensors"})
    EXPECT_TRUE(std::filesystem::exists(Path("run/") + file)) << file;

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights model, LoadClassifier(Path("run")));
  EXPECT_THAT(model.class_names, ElementsAre("left", "right"));
  EXPECT_TRUE(model.parameters.contains("fc_norm.weight"));
  EXPECT_FALSE(model.parameters.contains("norm.weight"));
  // The checkpoint is the same network, before it was rounded.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights last,
                                  NetworkOfCheckpoint(Path("run"), ExportedWeights::kLast));
  for (const auto& [name, tensor] : last.parameters)
    EXPECT_TRUE(at::allclose(model.parameters.at(name), tensor, 1e-3, 1e-3)) << name;
  // It can be the start of another fine-tuning, and of a k-NN.
  StartNetworkOptions start;
  for (const char* path : {"run", "run/model.safetensors"}) {
    start.network.weights = Path(path);
    EXPECT_THAT(LoadStartNetwork(start).status(), IsOk()) << path;
  }
}

TEST_F(FinetuneTest, EachStepSaysWhatItWaitedFor) {
  AFTERIMAGE_ASSERT_OK(Finetune(Options("run")).status());
  double parts = 0, waited = 0;
  int num_steps = 0;
  for (const absl::string_view line : absl::StrSplit(Bytes("run/metrics.jsonl"), '\n', absl::SkipEmpty())) {
    const Json json = Json::parse(line.begin(), line.end());
    if (!json.contains("loss")) continue;
    ++num_steps;
    waited += json["wait_share"].get<double>() * json["step_s"].get<double>();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::vector<StallRow> rows, StallRowsFromJson(json["stall_s"]));
    for (const StallRow& row : rows) {
      EXPECT_EQ(row.server, "");
      parts += absl::ToDoubleSeconds(row.times.Total());
    }
  }
  EXPECT_EQ(num_steps, 32);
  EXPECT_GT(waited, 0);
  EXPECT_NEAR(parts, waited, 0.02 * waited + 0.002);
}

TEST_F(FinetuneTest, InHalfPrecisionItLearnsLeavesOverflowsOutAndGoesOnToTheBit) {
  FinetuneOptions options = Options("whole");
  options.run.precision = "f16";
  options.run.mix = {};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary summary, Finetune(options));
  EXPECT_GT(summary.test->top1(), 0.9);
  for (const std::string& line : Metrics("whole")) {
    const Json json = Json::parse(line);
    if (json.contains("loss")) {
      EXPECT_TRUE(json.contains("loss_scale")) << line;
    }
  }
  options.run.out = Path("parts");
  options.run.test_images.clear();
  options.run.steps = 9;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  // A scale of 2^100 makes the next gradients overflow: the update is left out, and the scale halved.
  const std::string path = Path("parts/checkpoint-9.safetensors");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(Checkpoint checkpoint, ReadCheckpoint(path));
  const std::string scaler = checkpoint.values.at("loss_scale");
  options.run.steps = 0;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  EXPECT_TRUE(Bytes("whole/model.safetensors") == Bytes("parts/model.safetensors"));

  std::filesystem::create_directories(Path("overflow"));
  Json large = Json::parse(scaler);
  large["scale"] = DecimalText(0x1p100);
  checkpoint.values["loss_scale"] = large.dump();
  ASSERT_THAT(WriteCheckpoint(Path("overflow"), checkpoint), IsOk());
  options.run.out = Path("overflow");
  options.run.steps = 10;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const Checkpoint after,
                                  ReadCheckpoint(Path("overflow/checkpoint-10.safetensors")));
  for (const auto& [name, tensor] : checkpoint.weights)
    EXPECT_TRUE(at::equal(tensor, after.weights.at(name))) << name;
  EXPECT_EQ(Json::parse(after.values.at("loss_scale"))["scale"], DecimalText(0x1p99));
  EXPECT_EQ(Json::parse(Bytes("overflow/summary.json"))["skipped_updates"], 1);
}

TEST_F(FinetuneTest, ARunInPartsIsThatOfOnePartToTheBit) {
  FinetuneOptions options = Options("whole");
  options.run.epochs = 4;
  options.run.ema = 0.9;
  options.run.clip_grad = 1;
  options.run.accumulate = 3;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  options.run.out = Path("parts");
  options.run.checkpoint_every = {3};
  for (const uint64_t steps : {3, 7, 16}) {  // within epochs and at the end
    options.run.steps = steps;
    options.run.view_threads = steps == 7 ? 2 : 1;
    // Evaluated where the whole run is: the end of a part is none.
    options.run.test_images = steps == 16 ? Path("test") : "";
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary part, Finetune(options));
    EXPECT_EQ(part.steps, steps);
  }
  EXPECT_TRUE(Bytes("whole/model.safetensors") == Bytes("parts/model.safetensors"));
  const auto losses = [&](const std::string& run) {
    std::vector<std::string> lines;
    for (const std::string& line : Metrics(run)) {
      if (line.find("loss_hex") != std::string::npos) lines.push_back(line);
    }
    return lines;
  };
  EXPECT_EQ(losses("whole").size(), 16u);
  EXPECT_EQ(losses("whole"), losses("parts"));
}

TEST_F(FinetuneTest, AStopDuringTheRunIsGoneOnFromToTheBit) {
  FinetuneOptions options = Options("whole");
  options.run.epochs = 2;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  options.run.out = Path("parts");
  RequestStop();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary none, Finetune(options));
  EXPECT_TRUE(none.stopped);
  ResetStopForTest();
  ASSERT_THAT(Finetune(options).status(), IsOk());
  EXPECT_EQ(Metrics("whole"), Metrics("parts"));
  EXPECT_TRUE(Bytes("whole/model.safetensors") == Bytes("parts/model.safetensors"));
  // A run that is at its end does nothing but evaluate.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary again, Finetune(options));
  EXPECT_TRUE(again.test.has_value());
  EXPECT_EQ(Metrics("whole"), Metrics("parts"));
}

TEST_F(FinetuneTest, TheClassTokenAndAnotherImageSize) {
  FinetuneOptions options = Options("token");
  options.pool = "token";
  options.start.network.image_size = 15;
  options.run.epochs = 2;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights model, LoadClassifier(Path("token")));
  EXPECT_EQ(model.config.image_size, 15);
  EXPECT_EQ(model.parameters.at("pos_embed").sizes(), at::IntArrayRef({1, 26, 16}));
  EXPECT_TRUE(model.parameters.contains("norm.weight"));
  // The same from a checkpoint, whose positions are resized alike.
  StartNetworkOptions start;
  start.network.weights = Path("token");
  start.network.image_size = 12;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const StartNetwork network, LoadStartNetwork(start));
  EXPECT_EQ(network.weights.parameters.at("pos_embed").sizes(), at::IntArrayRef({1, 17, 16}));
  start.network.image_size = 13;
  EXPECT_THAT(LoadStartNetwork(start).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("13")));
}

TEST_F(FinetuneTest, OtherConfigurationsClassesAndVersionsOfACheckpointAreRefused) {
  FinetuneOptions options = Options("run");
  options.run.epochs = 2;
  ASSERT_THAT(Finetune(options).status(), IsOk());
  FinetuneOptions other = options;
  other.run.random_erasing = 0.5;
  EXPECT_THAT(Finetune(other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("\"random_erasing\""), HasSubstr("0.1"), HasSubstr("--no-resume"))));
  testing::WriteTeacher(Path("other.safetensors"), 99);
  other = options;
  other.start.network.weights = Path("other.safetensors");
  EXPECT_THAT(Finetune(other).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("\"weights\"")));

  std::filesystem::rename(Path("train/left"), Path("train/centre"));
  other = options;
  other.run.test_images = "";
  EXPECT_THAT(Finetune(other).status(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                 AllOf(HasSubstr("left, right"), HasSubstr("centre, right"),
                                                       HasSubstr("another --out"))));
  std::filesystem::rename(Path("train/centre"), Path("train/left"));

  const std::string checkpoint = *LatestCheckpoint(options.run.out);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ParameterMap tensors, LoadTensors(checkpoint));
  ASSERT_THAT(SaveTensors(checkpoint, tensors, {{"afterimage.checkpoint", "99"}, {"step", "8"}}), IsOk());
  EXPECT_THAT(Finetune(options).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 99")));
  EXPECT_THAT(LoadClassifier(checkpoint).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 99")));
}

TEST_F(FinetuneTest, ImagesAndWeightsThatCannotBeAreRefused) {
  FinetuneOptions options = Options("run");
  options.run.images = Path("train/left");
  EXPECT_THAT(Finetune(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("has no label"), HasSubstr("folder per class"))));
  options = Options("run");
  std::filesystem::rename(Path("test/left"), Path("test/top"));
  EXPECT_THAT(Finetune(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the classes of"), HasSubstr("\"right\""), HasSubstr("\"left\""))));
  std::filesystem::rename(Path("test/top"), Path("test/left"));
  options.run.batch_size = 65;
  EXPECT_THAT(Finetune(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("smaller --batch-size")));

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(VitWeights weights, LoadVitWeights(Path("student.safetensors")));
  weights.parameters["blocks.1.attn.proj.weight"] = at::zeros({16, 15});
  ASSERT_THAT(
      SaveTensors(Path("bad.safetensors"), weights.parameters, {{"afterimage.config", NetworkText(weights)}}),
      IsOk());
  options = Options("run");
  options.start.network.weights = Path("bad.safetensors");
  EXPECT_THAT(Finetune(options).status(), StatusIs(absl::StatusCode::kInvalidArgument,
                                                   AllOf(HasSubstr("blocks.1.attn.proj.weight"),
                                                         HasSubstr("[16, 15]"), HasSubstr("[16, 16]"))));
  options.start.network.weights = Path("absent.safetensors");
  EXPECT_THAT(Finetune(options).status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent")));
  options.start.network.weights = Path("teacher.pt");
  EXPECT_THAT(Finetune(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("TorchScript")));
}

TEST_F(FinetuneTest, OptionsOutOfRangeNameTheirFlag) {
  const auto refusal = [&](const std::function<void(FinetuneOptions&)>& change) {
    FinetuneOptions options = Options("run");
    change(options);
    return Finetune(options).status();
  };
  const auto is = [](const char* flag) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(flag));
  };
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.layer_decay = 0; }), is("--layer-decay"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.drop_path = 1; }), is("--drop-path"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.pool = "max"; }), is("token and mean"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.run.mix.mixup_alpha = -1; }), is("--mixup"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.run.rand_augment = "auto"; }), is("--rand-augment"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.run.warmup_epochs = 8; }), is("--warmup-epochs"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.run.precision = "f8"; }), is("--precision"));
  EXPECT_THAT(refusal([](FinetuneOptions& o) { o.run.accumulate = 17; }), is("--accumulate"));
}

class ProbeTest : public FinetuneTest {
 protected:
  ProbeOptions Probing(const std::string& out) const {
    ProbeOptions options;
    options.start.network.weights = Path("student.safetensors");
    Fill(options.run, out);
    options.run.lr = 3;
    return options;
  }
};

TEST_F(ProbeTest, LearnsOnFrozenFeaturesInEveryVariant) {
  for (const char* optimizer : {"lars", "sgd"}) {
    for (const bool random_crops : {true, false}) {
      ProbeOptions options = Probing(absl::StrCat(optimizer, random_crops));
      options.optimizer = optimizer;
      if (options.optimizer == "sgd") options.run.lr = 0.1;
      options.random_crops = random_crops;
      options.pool = random_crops && options.optimizer == "sgd" ? "mean" : "token";
      options.features_dtype = random_crops ? "f32" : "f16";
      options.run.epochs = 40;
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledSummary summary, Probe(options));
      ASSERT_TRUE(summary.test.has_value());
      EXPECT_GT(summary.best_top1, 0.75) << options.run.out;  // half are right by chance
      // The network is the one that was given.
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights before, LoadVitWeights(Path("student.safetensors")));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const VitWeights model, LoadClassifier(options.run.out));
      EXPECT_TRUE(at::equal(model.parameters.at("blocks.1.mlp.fc1.weight"),
                            before.parameters.at("blocks.1.mlp.fc1.weight")));
    }
  }
}

TEST_F(ProbeTest, ARunInPartsIsThatOfOnePartToTheBit) {
  for (const bool random_crops : {true, false}) {
    ProbeOptions options = Probing(absl::StrCat("whole", random_crops));
    options.random_crops = random_crops;
    options.run.epochs = 3;
    ASSERT_THAT(Probe(options).status(), IsOk());
    options.run.out = Path(absl::StrCat("parts", random_crops));
    for (const uint64_t steps : {5, 12}) {
      options.run.steps = steps;
      ASSERT_THAT(Probe(options).status(), IsOk());
    }
    EXPECT_TRUE(Bytes(absl::StrCat("whole", random_crops, "/model.safetensors")) ==
                Bytes(absl::StrCat("parts", random_crops, "/model.safetensors")));
  }
}

TEST_F(ProbeTest, WhatIsNotKnownIsRefused) {
  ProbeOptions options = Probing("run");
  options.optimizer = "adam";
  EXPECT_THAT(Probe(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("lars and sgd")));
  options = Probing("run");
  options.features_dtype = "i8";
  EXPECT_THAT(Probe(options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32 and f16")));
}

TEST_F(FinetuneTest, SeveralKFromOneSearchAndAKThatCannotBe) {
  KnnEvaluationOptions knn{.weights = Path("student.safetensors"),
                           .images = Path("train"),
                           .test_images = Path("test"),
                           .ks = {1, 5, 64},
                           .num_threads = 1};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const KnnEvaluation several, EvaluateKnn(knn));
  ASSERT_EQ(several.accuracies.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    KnnEvaluationOptions one = knn;
    one.ks = {knn.ks[i]};
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const KnnEvaluation alone, EvaluateKnn(one));
    EXPECT_EQ(alone.accuracies[0], several.accuracies[i]);
  }
  for (const uint32_t k : {0u, 65u}) {
    knn.ks = {5, k};
    EXPECT_THAT(EvaluateKnn(knn).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(absl::StrCat("--k ", k)), HasSubstr("64 training images"))));
  }
  knn.ks = {5};
  knn.temperature = 0;
  EXPECT_THAT(EvaluateKnn(knn).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--temperature")));
}

TEST_F(FinetuneTest, ANetworkWithoutAHeadIsNoClassifier) {
  EXPECT_THAT(LoadClassifier(Path("student.safetensors")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("without a head"), HasSubstr("finetune"))));
  EXPECT_THAT(LoadClassifier(Path("train")).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.safetensors")));
}

}  // namespace
}  // namespace afterimage::trainer
