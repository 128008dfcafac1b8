// Labelled views for supervised training and evaluation, made ahead by background threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/image/image_source.h"
#include "core/order/order_spec.h"
#include "core/order/stall.h"
#include "core/view/view_spec.h"
#include "trainer/data/augment/rand_augment.h"
#include "trainer/data/augment/random_erasing.h"

namespace afterimage::trainer {

// What is done to a view after crop and flip.
struct ViewAugmentation {
  std::optional<RandAugment> rand_augment;
  RgbPixel fill{};     // where an operation brings in what lies outside the view
  double erasing = 0;  // probability that a box of it becomes noise
};

// Gives batch after batch, without end: step t is batch t mod (steps per epoch) of epoch t / (steps per
// epoch). Each epoch is a permutation of the pictures (the short rest is left out) in views of its own; crop,
// flip and augmentation of a picture are drawn by (seed, epoch, its number in the source). Batches are reused
// memory. A pure function of the options and the pictures, whatever the number of threads. Next and Release
// belong to one thread.
class LabelledViewLoader {
 public:
  struct Options {
    ViewSpec view;
    ViewAugmentation augmentation;
    uint64_t batch_size = 256;
    uint64_t seed = 0;
    uint64_t first_step = 0;
    int num_threads = 1;
    int num_batches = 3;  // in rotation: one in use, one ready, one in the making
    // The pictures once, in order, the last batch short; labels may be missing.
    bool one_pass = false;
    // Of several ranks: the places of a step's batch that this one makes; and of a single pass, which part of
    // the pictures (SlotsOfRank).
    RankSlice slice;
  };
  struct Batch {
    uint64_t step = 0;
    size_t size = 0;
    std::vector<uint8_t> pixels;   // size x view x view x 3
    std::vector<int64_t> labels;   // -1 = none
    std::vector<size_t> indices;   // in the source
    std::vector<uint32_t> places;  // in the step's batch, ascending
    std::vector<std::optional<Erasure>> erasures;
    StallTimes made_in;  // disk: reading the pictures; decode: making views of them
  };

  // `source` must outlive the loader. InvalidArgument: a picture without a label, or fewer pictures than one
  // batch (neither with one_pass).
  static absl::StatusOr<std::unique_ptr<LabelledViewLoader>> Open(const ImageSource* source, Options options);
  ~LabelledViewLoader();

  uint64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The batch of the next step; it stays valid until Release; null after the last one of a single pass. The
  // error of a picture that cannot be read names it.
  absl::StatusOr<const Batch*> Next();
  void Release(const Batch* batch);

 private:
  LabelledViewLoader(const ImageSource* source, Options options);
  void Work();
  bool HasStep(uint64_t step) const { return !options_.one_pass || step < steps_per_epoch_; }
  absl::Status Fill(uint64_t step, Batch& batch) const;
  absl::Status FillView(size_t index, uint32_t epoch, size_t place, Batch& batch) const;

  struct Slot {
    Batch batch;
    bool ready = false;
    bool taken = false;  // being filled or in use
    absl::Status status;
  };

  const ImageSource* const source_;
  const Options options_;
  const SlotRange pass_;                // of a single pass: which pictures
  const std::vector<uint32_t> places_;  // else
  const uint64_t steps_per_epoch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;  // step t lives in slot t mod num_batches
  uint64_t next_to_fill_;
  uint64_t next_to_give_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// InvalidArgument names the first picture of `source` without a label, and what gives labels.
absl::Status CheckLabelled(const ImageSource& source);

// The places of a batch that are a rank's: ascending, and with each place p its mirror, batch - 1 - p, so
// that what is mixed with its mirror (mix.h) is mixed inside of a rank. A batch of at least two per rank
// leaves none of them without.
std::vector<uint32_t> PlacesOfRank(const RankSlice& slice, uint64_t batch);

// The view of evaluation: resized to 256 / 224 of `size` and centre-cropped; pictures of at most 64 pixels,
// which are about the network's own size, are taken whole.
ViewSpec EvaluationView(uint32_t size);

// All pictures of a source in order, in views of evaluation of `size` pixels, batch by batch; an error of
// `use` ends it. A picture that cannot be decoded is an error that names it. Of several ranks each takes its
// part of the pictures.
absl::Status ForEachEvaluationBatch(const ImageSource& source, uint32_t size, int num_threads,
                                    const std::function<absl::Status(const LabelledViewLoader::Batch&)>& use,
                                    const RankSlice& slice = {});

}  // namespace afterimage::trainer
