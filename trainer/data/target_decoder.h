// From coded targets to tensors on the device that trains.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/feature/profile.h"
#include "core/feature/scale_tables.h"
#include "trainer/data/training_batch.h"

namespace afterimage::trainer {

// Uploads the coded rows of a batch, one copy for each target, and fills the target's tensor there, one
// launch for each: all of it on the device's current stream, and without waiting for it. On a CUDA device by
// the kernel of trainer/data/cuda, which has never run; on the CPU, where there is nothing to upload, by its
// CPU build. c10::Error where the device refuses. One thread at a time.
class TargetDecoder {
 public:
  struct Level {
    uint32_t level = 0;
    const FeatureProfile* profile = nullptr;  // of its set, if that has one; must outlive the decoder
  };
  // Until the device has read the memory of a batch.
  class Upload {
   public:
    Upload() = default;
    explicit Upload(c10::Event copied) : copied_(std::move(copied)) {}
    // The batch may be filled again afterwards. From any one thread.
    void Wait();

   private:
    std::optional<c10::Event> copied_;
  };

  // `levels`: in the order of the batch's targets. Nothing is asked of the device before the first batch.
  TargetDecoder(at::Device device, std::vector<Level> levels) : device_(device), levels_(std::move(levels)) {}

  // Makes batch.targets of batch.coded, which has been sealed for `size` samples.
  Upload Decode(TrainingBatch& batch);

 private:
  struct Constants {
    ScaleTables tables;
    at::Tensor on_device;  // uint8, their bytes
  };

  void UploadConstants();
  at::Tensor DecodeTarget(const TrainingBatch& batch, size_t target);

  const at::Device device_;
  const std::vector<Level> levels_;
  std::vector<Constants> constants_;  // of each level, once there was a batch
};

}  // namespace afterimage::trainer
