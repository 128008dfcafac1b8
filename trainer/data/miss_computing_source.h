// An epoch source whose gaps are filled: what another one lacks, the trainer's own teacher computes.
#pragma once

#include "core/order/epoch_source.h"
#include "trainer/data/record_computer.h"

namespace afterimage::trainer {

// Frames that are MISSING or DAMAGED become what a full cache would send, to the last bit, with
// EpochFrame::computed set; all others pass through as they come. Where one is met, those behind it in the
// same step are looked at too, so that the teacher has a micro-batch to do. Nothing is written back.
// Thread-safe.
class MissComputingSource : public EpochSource {
 public:
  // Both must outlive the source and its streams. `computer` is of the set that is read.
  MissComputingSource(EpochSource* source, RecordComputer* computer) : source_(source), computer_(computer) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override;

 private:
  EpochSource* const source_;
  RecordComputer* const computer_;
};

}  // namespace afterimage::trainer
