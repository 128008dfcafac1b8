// From feature blocks to a row of a batch.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/feature/feature_block.h"
#include "core/order/epoch_source.h"
#include "trainer/data/training_batch.h"

namespace afterimage::trainer {

// Decodes the frames of one sample, one from the set of each teacher, straight into the batch; of a batch
// whose shape is coded, targets are copied as they are. Thread-safe.
class SampleDecoder {
 public:
  // Where records hold no pixels: writes the rows of `patches` of the view that `block` describes, having
  // checked its digest.
  using PixelProvider =
      std::function<absl::Status(const RecordKey& key, const FeatureBlock& block,
                                 std::span<const uint16_t> patches, std::span<uint8_t> target)>;

  // How the blocks of one set are read. Pixels and masks are the first one's.
  struct Set {
    Digest256 set_id;
    const FeatureProfile* profile = nullptr;  // of its codec, if that needs one; must outlive the decoder
    // Of a further set: its blocks have the first one's mask (checked); else all tokens, of which the rows of
    // that mask are picked here.
    bool draws_same_mask = true;
  };

  // One set for each of shape.teachers. `pixels` empty: they are in the records.
  SampleDecoder(BatchShape shape, std::vector<Set> sets, PixelProvider pixels)
      : shape_(std::move(shape)), sets_(std::move(sets)), pixels_(std::move(pixels)) {}

  // Fills row batch.size of the batch's tensors from the blocks, all of them OK. DataLoss: a block fails its
  // checks. FailedPrecondition: a further set saw another view or has another mask. Internal: another number
  // of tokens or width than the batch was made for. After an error the row holds nothing of use.
  absl::Status Decode(std::span<const EpochFrame> frames, TrainingBatch& batch) const;

 private:
  // Levels of teacher `teacher`; `rows` empty = all of the block.
  absl::Status DecodeTargets(size_t teacher, const FeatureBlock& block, std::span<const uint16_t> rows,
                             TrainingBatch& batch) const;

  const BatchShape shape_;
  const std::vector<Set> sets_;
  const PixelProvider pixels_;
};

}  // namespace afterimage::trainer
