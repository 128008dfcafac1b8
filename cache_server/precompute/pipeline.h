// Images in, published units out: the staged pipeline of design.md section 5.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cache_server/precompute/unit_in_progress.h"
#include "core/base/bounded_queue.h"
#include "core/base/progress.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/image_index.h"
#include "core/vit/teacher_runner.h"

namespace afterimage {

struct PipelineOptions {
  uint32_t num_view_seeds = 1;                       // K
  bool seed_major = false;
  std::string worker;                                // unique per process
  absl::Duration lease_duration = absl::Seconds(60);
  absl::Duration wait_for_others = absl::Seconds(1); // between claims when all that is left is leased elsewhere
  int num_decode_threads = 1;
  int num_encode_threads = 1;
  uint32_t views_per_call = 64;                      // to the teacher, which cuts them into its micro-batches
  // Of the records: on so many what coding lost is measured, and kept with their units; the first of each
  // unit is always among them, unless this is 0.
  double error_sample = 0.01;
  std::shared_ptr<FeatureStore> importance_from;     // of the set that the records' importance is taken from; null = the teacher's own
};

struct PipelineReport {
  uint64_t records = 0;      // published by this run, failures included
  uint64_t failed = 0;
  uint64_t units = 0;
  uint64_t bytes = 0;
  uint64_t fallback_planes = 0;  // of i8x, stored as f16; of every record that was encoded
  uint64_t duplicates_equal = 0;
  uint64_t duplicates_different = 0;
  uint64_t units_lost = 0;   // taken over by another worker after our lease expired
  absl::Duration elapsed;
  absl::Duration teacher_busy;
  bool complete = false;     // nothing is left to do for this manifest and K
};

// claim -> decode once, all leased views -> teacher -> importance, mask, encode -> publish; each stage on threads of its own with a
// bounded queue between, so that memory does not depend on the number of images. Use once.
class PrecomputePipeline {
 public:
  // All pointers must outlive the run. `set` was opened to contribute.
  PrecomputePipeline(OpenedSet set, const ImageIndex* images, TeacherRunner* teacher, PipelineOptions options);

  // Runs until everything is computed, by us or by others, or a stop was requested (Cancelled; leases are given back and what was
  // published stays). Errors of a stage end the run in the same way. `progress` counts records of the manifest.
  absl::StatusOr<PipelineReport> Run(Progress* progress);

 private:
  struct ImageTask {
    std::shared_ptr<UnitInProgress> unit;
    size_t first = 0;   // the run of claimed().wanted with this image
    size_t count = 0;
  };
  struct ViewTask {
    std::shared_ptr<UnitInProgress> unit;
    size_t index = 0;
    View view;
  };
  struct EncodeTask {
    std::shared_ptr<UnitInProgress> unit;
    size_t index = 0;
    FeatureRecord record;
    std::string failure;   // not empty: the picture can't be decoded
  };

  void ClaimLoop();
  void DecodeLoop();
  void TeacherLoop(Progress* progress);
  void EncodeLoop();
  void CountFallbackPlanes(const std::string& encoded);
  bool IsSampled(size_t index, const RecordKey& key) const;
  absl::StatusOr<std::vector<SampledError>> MeasureError(const RecordKey& key, FeatureRecord record) const;
  void PublishLoop();
  void RenewLoop();

  // Opens its writer and keeps its lease alive from now on; null when the lease is no longer ours.
  absl::StatusOr<std::shared_ptr<UnitInProgress>> HoldUnit(ClaimedUnit claimed);
  void FeedUnit(const std::shared_ptr<UnitInProgress>& unit);
  void DecodeImageTask(const ImageTask& task);
  void RunTeacher(std::vector<ViewTask>& batch);
  void ReportProgress(Progress* progress);

  // Keeps the first error and stops every stage.
  void Fail(const absl::Status& status);
  bool Stopping() const;

  const OpenedSet set_;
  const SetDescription description_;
  const ImageIndex* const images_;
  TeacherRunner* const teacher_;
  const PipelineOptions options_;

  BoundedQueue<ImageTask> image_queue_;
  BoundedQueue<ViewTask> view_queue_;
  BoundedQueue<EncodeTask> encode_queue_;
  BoundedQueue<std::shared_ptr<UnitInProgress>> publish_queue_;

  std::mutex mutex_;
  absl::Status error_;
  std::vector<std::shared_ptr<UnitInProgress>> active_;   // claimed, not yet published
  PipelineReport report_;
  std::atomic<bool> failed_{false};
  std::atomic<bool> finished_{false};
  std::atomic<uint64_t> records_computed_{0};
  std::atomic<uint64_t> records_present_{0};
  std::atomic<uint64_t> units_published_{0};
  std::atomic<uint64_t> views_underway_{0};   // claimed, and not yet with the teacher: none left = no reason to wait for a full batch
  std::atomic<bool> all_complete_{false};
};

}  // namespace afterimage
