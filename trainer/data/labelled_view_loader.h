// Labelled views for supervised training, made ahead by background threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/image/image_source.h"
#include "core/view/view_spec.h"

namespace afterimage::trainer {

// Gives batch after batch, without end: step t is batch t mod (steps per epoch) of epoch t / (steps per
// epoch). Each epoch is a permutation of the pictures (the short rest is left out) in views of its own.
// Batches are reused memory. A pure function of the options and the pictures, whatever the number of threads.
// Next and Release belong to one thread.
class LabelledViewLoader {
 public:
  struct Options {
    ViewSpec view;
    uint64_t batch_size = 256;
    uint64_t seed = 0;
    uint64_t first_step = 0;
    int num_threads = 1;
    int num_batches = 3;  // in rotation: one in use, one ready, one in the making
  };
  struct Batch {
    uint64_t step = 0;
    std::vector<uint8_t> pixels;  // batch x size x size x 3
    std::vector<int64_t> labels;
  };

  // `source` must outlive the loader. InvalidArgument: a picture without a label, or fewer pictures than one
  // batch.
  static absl::StatusOr<std::unique_ptr<LabelledViewLoader>> Open(const ImageSource* source, Options options);
  ~LabelledViewLoader();

  uint64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The batch of the next step; it stays valid until Release. The error of a picture that cannot be read
  // names it.
  absl::StatusOr<const Batch*> Next();
  void Release(const Batch* batch);

 private:
  LabelledViewLoader(const ImageSource* source, Options options);
  void Work();
  absl::Status Fill(uint64_t step, Batch& batch) const;

  struct Slot {
    Batch batch;
    bool ready = false;
    bool taken = false;  // being filled or in use
    absl::Status status;
  };

  const ImageSource* const source_;
  const Options options_;
  const uint64_t steps_per_epoch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;  // step t lives in slot t mod num_batches
  uint64_t next_to_fill_;
  uint64_t next_to_give_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// All pictures of a source in order, resized and centre-cropped to `size`: pixels and labels for evaluation.
// `labels` of pictures without one are -1. A picture that cannot be decoded is an error that names it.
struct EvaluationViews {
  uint64_t count = 0;
  uint32_t size = 0;
  std::vector<uint8_t> pixels;  // count x size x size x 3
  std::vector<int32_t> labels;
};
absl::StatusOr<EvaluationViews> LoadEvaluationViews(const ImageSource& source, uint32_t size,
                                                    int num_threads);

}  // namespace afterimage::trainer
