#include "trainer/data/training_batch.h"

#include <ATen/ATen.h>

namespace afterimage::trainer {
namespace {

// Samples of `tokens` rows, in the memory that is there.
CodedBatch RowsIn(const at::Tensor& memory, int64_t tokens, int64_t width) {
  return {{memory.data_ptr<uint8_t>(), static_cast<size_t>(memory.numel())},
          static_cast<size_t>(tokens),
          static_cast<uint32_t>(width)};
}

}  // namespace

TrainingBatch TrainingBatch::Allocate(const BatchShape& shape) {
  const auto options = [&](at::ScalarType type) {
    return at::TensorOptions().dtype(type).pinned_memory(shape.pinned);
  };
  const int64_t tokens = 1 + shape.num_visible;
  TrainingBatch batch;
  batch.pixels = at::zeros({shape.batch, shape.num_visible, 3 * shape.patch_size * shape.patch_size},
                           options(at::kByte));
  batch.visible = at::zeros({shape.batch, shape.num_visible}, options(at::kLong));
  for (const TargetShape& teacher : shape.teachers) {
    for (size_t i = 0; i < teacher.levels.size(); ++i) {
      if (shape.coded) {
        const size_t bytes =
            CodedBatch::BytesFor(static_cast<size_t>(shape.batch), static_cast<size_t>(tokens),
                                 static_cast<uint32_t>(teacher.width));
        const at::Tensor memory = at::empty({static_cast<int64_t>(bytes)}, options(at::kByte));
        batch.coded.push_back({memory, RowsIn(memory, tokens, teacher.width)});
        batch.targets.emplace_back();
      } else {
        batch.targets.push_back(at::zeros({shape.batch, tokens, teacher.width}, options(at::kFloat)));
      }
      if (!shape.with_statistics) continue;
      batch.mean.push_back(at::zeros({shape.batch, tokens}, options(at::kFloat)));
      batch.inverse_deviation.push_back(at::ones({shape.batch, tokens}, options(at::kFloat)));
    }
  }
  return batch;
}

void TrainingBatch::Seal() {
  for (CodedTarget& target : coded)
    target.num_bytes = static_cast<int64_t>(target.rows.Seal(static_cast<size_t>(size)));
}

void TrainingBatch::SetNumVisible(int64_t num_visible) {
  if (num_visible == visible.size(1)) return;
  // Smaller sizes keep the memory, so that growing back to what was allocated needs none.
  const auto resize = [](at::Tensor& tensor, int64_t length) {
    std::vector<int64_t> sizes = tensor.sizes().vec();
    sizes[1] = length;
    tensor.resize_(sizes);
  };
  resize(pixels, num_visible);
  resize(visible, num_visible);
  for (std::vector<at::Tensor>* const of_levels : {&targets, &mean, &inverse_deviation}) {
    for (at::Tensor& tensor : *of_levels) {
      if (tensor.defined()) resize(tensor, 1 + num_visible);
    }
  }
  for (CodedTarget& target : coded) target.rows = RowsIn(target.memory, 1 + num_visible, target.rows.width());
}

}  // namespace afterimage::trainer
