#include "trainer/data/target_decoder.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#ifdef AFTERIMAGE_WITH_CUDA
#include <c10/cuda/CUDAStream.h>

#include "trainer/data/cuda/launch_decode_rows.h"
#endif

namespace afterimage::trainer {
namespace {

void DecodeRows(const at::Device& device, const RowsToDecode& rows, void* target) {
  if (device.is_cpu()) return DecodeRowsOnCpu(rows, FloatType::kF32, target);
#ifdef AFTERIMAGE_WITH_CUDA
  if (device.is_cuda()) {
    const char* const error =
        cuda::LaunchDecodeRows(rows, FloatType::kF32, target, c10::cuda::getCurrentCUDAStream().stream());
    TORCH_CHECK(error == nullptr, "the kernel that decodes features could not be launched: ", error);
    return;
  }
#endif
  TORCH_CHECK(false, "features cannot be decoded on the device ", device.str());
}

}  // namespace

void TargetDecoder::Upload::Wait() {
  if (copied_.has_value()) copied_->synchronize();
  copied_.reset();
}

void TargetDecoder::UploadConstants() {
  for (const Level& level : levels_) {
    const LevelCodes* const codes =
        level.profile == nullptr ? nullptr : level.profile->FindCodes(level.level);
    Constants& constants = constants_.emplace_back();
    if (codes == nullptr) continue;
    constants.tables = ScaleTables(*codes);
    const ByteSpan bytes = constants.tables.bytes();
    constants.on_device = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
    std::ranges::copy(bytes, constants.on_device.data_ptr<uint8_t>());
    constants.on_device = constants.on_device.to(device_);
  }
}

TargetDecoder::Upload TargetDecoder::Decode(TrainingBatch& batch) {
  const c10::DeviceGuard guard(device_);
  if (constants_.empty()) UploadConstants();
  for (size_t i = 0; i < batch.targets.size(); ++i) batch.targets[i] = DecodeTarget(batch, i);
  if (device_.is_cpu()) return Upload();
  c10::Event copied(device_.type());
  copied.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  return Upload(std::move(copied));
}

at::Tensor TargetDecoder::DecodeTarget(const TrainingBatch& batch, size_t target) {
  const TrainingBatch::CodedTarget& coded = batch.coded[target];
  const at::Tensor uploaded = coded.memory.narrow(0, 0, coded.num_bytes).to(device_, /*non_blocking=*/true);
  at::Tensor values = at::empty({batch.visible.size(0), batch.visible.size(1) + 1, coded.rows.width()},
                                at::TensorOptions().dtype(at::kFloat).device(device_));
  const Constants& constants = constants_[target];
  const ScaleView scales = constants.on_device.defined()
                               ? constants.tables.View(constants.on_device.data_ptr<uint8_t>())
                               : ScaleView();
  DecodeRows(device_, coded.rows.View(uploaded.data_ptr<uint8_t>(), scales), values.data_ptr<float>());
  return values;
}

}  // namespace afterimage::trainer
