// What a run of pre-training is, resolved and checked before its first step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/order/step_token.h"
#include "core/vit/vit.h"
#include "trainer/data/batch_feed.h"
#include "trainer/data/feature_input.h"
#include "trainer/loss/alignment_loss.h"
#include "trainer/model/alignment.h"
#include "trainer/optim/precision.h"
#include "trainer/optim/schedule.h"
#include "trainer/pretrain/pretrainer.h"

namespace afterimage::trainer {

// The options together with the features that they will be trained on. Everything that can be refused has
// been.
struct PretrainPlan {
  PretrainOptions options;
  std::unique_ptr<FeatureInput> input;
  RankSlice slice;  // this rank's part of each batch
  at::Device device{at::kCPU};
  VitConfig vit;
  std::vector<AlignmentConfig> alignments;  // one per teacher
  std::vector<double> level_weights;        // of the levels of each alignment in turn
  LossType loss_type = LossType::kSmoothL1;
  TargetNorm target_norm = TargetNorm::kWhiten;
  Precision precision = Precision::kF32;
  WarmupCosine schedule;  // over epochs
  uint64_t steps_per_epoch = 0;
  uint64_t last_step = 0;          // of the run, exclusive
  Json config;                     // RunConfig
  StepToken start;                 // before the first step
  std::vector<std::string> notes;  // what is legal but easily taken for something else

  // Step of the run at which `token` stands.
  uint64_t StepOf(const StepToken& token) const { return token.epoch * steps_per_epoch + token.next_step; }
  // The token after the last step of an epoch becomes that before the first of the next.
  void AdvanceEpoch(StepToken& token) const;
};

// Sets LibTorch's threads and determinism, opens the features. InvalidArgument: options that do not fit each
// other or the features, told with the remedy; and the errors of FeatureInput::Open.
absl::StatusOr<PretrainPlan> PlanPretraining(const PretrainOptions& options, const RankSlice& slice = {});

// What must be the same on all ranks of a run, for AgreeOnValues.
Json SharedByRanks(const PretrainPlan& plan);

// This rank's part of the batches from `token` on, to the end of the run.
BatchFeed::Options FeedFrom(const PretrainPlan& plan, const StepToken& token);

}  // namespace afterimage::trainer
