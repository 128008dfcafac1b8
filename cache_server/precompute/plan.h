// What a precompute will cost, measured on a few images before anything is spent.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/feature/profile.h"
#include "core/vit/teacher_runner.h"

namespace afterimage {

struct PlanInput {
  SetDescription description;
  const FeatureProfile* profile = nullptr;  // of its codec
  uint32_t num_view_seeds = 1;      // K
  uint32_t planned_epochs = 200;    // of one training run, for repeats and break-even
  int num_decode_threads = 1;
  std::string cache_folder;         // empty for a server: its disk is not looked at
  uint64_t records_present = 0;     // already in the cache
};

struct Plan {
  uint64_t num_images = 0;
  uint64_t num_records = 0;           // images * K
  uint64_t records_to_compute = 0;
  double record_bytes = 0;            // mean of the probe
  double pixel_share = 0;             // of record_bytes
  uint64_t total_bytes = 0;           // of the complete set
  double teacher_rate = 0;            // views per second
  double decode_rate = 0;             // views per second, all decode threads
  absl::Duration time;                // for what is left, at the slower of the two
  double repeats_per_view = 0;        // planned epochs / K
  uint32_t masks_per_view = 0;        // of one run: M of a visible set, else one per epoch that uses the view
  double break_even_epochs = 0;       // epochs of on-line training whose teacher time equals the precompute's
  uint64_t free_bytes = 0;            // of the cache's file system; 0 = not known
  std::string limit;                  // "teacher", "decoding" or "disk"

  // A few aligned lines for people.
  std::string ToText() const;
  // One JSON object for machines.
  std::string ToJson() const;
};

// Computes a few micro-batches of real records. FailedPrecondition: no image of the probe can be decoded (the first reason).
absl::StatusOr<Plan> MakePlan(const PlanInput& input, const ImageIndex& images, TeacherRunner& teacher);

// The layout for a new set: units of at most 256 MB per view seed and about `unit_time` of work, so that little is lost with a worker.
UnitLayout ChooseLayout(uint64_t num_images, double record_bytes, double views_per_second,
                        absl::Duration unit_time = absl::Seconds(15));

}  // namespace afterimage
