// The command line of afterimage-precompute.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/open_cache.h"
#include "core/feature/feature_spec.h"
#include "core/feature/profile.h"
#include "core/vit/teacher_runner.h"

namespace CLI {
class App;
}

namespace afterimage {

struct PrecomputeOptions {
  std::string images;
  uint64_t limit = 0;               // keep the first so many images; 0 = all
  std::string cache;
  ServerAccess access;  // to a server
  TeacherOptions teacher;
  std::string name;                 // alias for the set
  std::string manifest_name;        // alias for the manifest
  uint32_t num_view_seeds = 1;
  std::string levels = "top5";
  std::string tokens = "visible";
  double mask_ratio = 0.7;
  std::string mask_type = "attention";
  uint32_t masks_per_view = 1;
  uint32_t mask_seed = 0;
  std::string importance_from;      // a set; empty = the teacher's own
  std::string pixels = "packed";
  std::string codec;    // empty = i8x, or what max_rmse and max_bytes choose
  std::string profile;  // of a codec that needs one: name, or digits of its digest; empty = calibrated here
  std::optional<double> max_rmse;
  std::string max_bytes;     // of all images, per view seed, e.g. "100GB"
  uint64_t samples = 2000;   // views to calibrate on
  bool recalibrate = false;  // although the same was asked for before
  bool calibrate_only = false;
  std::string png;  // of calibrate_only: where to draw what it found; empty = nowhere
  std::string view = "random_resized_crop";
  uint32_t resize_shorter = 0;      // of view resize_center_crop; 0 = the view's side * 8 / 7
  double min_area = 0.2;
  double flip = 0.5;
  bool plan_only = false;
  std::string quota;                // e.g. "500GB"; empty = the disk
  int threads = 0;                  // for decoding and for encoding, each; 0 = half the cores
  std::string worker;               // empty = host, process and start time
  bool seed_major = false;
  uint32_t planned_epochs = 200;
  double lease_seconds = 60;
  double error_sample = 0.01;  // share of the records
  bool json = false;
  bool quiet = false;
};

// Declares the flags. `options` must outlive the app.
void DeclarePrecomputeFlags(CLI::App& app, PrecomputeOptions& options);

// The set that the options ask for from this teacher. Layout is left at its default. InvalidArgument names
// the flag. `profile`: what --profile names, null without it; FailedPrecondition where it is of another
// feature id (both told) or lacks a level. Where the options leave codec or profile to calibration
// (NeedsCalibration), the codec is f32 until that is done.
absl::StatusOr<SetDescription> DescribeSet(const PrecomputeOptions& options, const TeacherRunner& teacher,
                                           const FeatureProfile* profile = nullptr);

// Whether codec or profile are to be found by looking at features.
bool NeedsCalibration(const PrecomputeOptions& options);
// The codec that is asked for by name; the default, i8x, where nothing is asked for; none where limits
// choose. InvalidArgument: an unknown codec, a codec beside limits, a profile beside a codec that has none.
absl::StatusOr<std::optional<Codec>> NamedCodec(const PrecomputeOptions& options);

// "top5", "all", or "8,10,12" -> ascending 1-based levels.
absl::StatusOr<std::vector<uint32_t>> ParseLevels(const std::string& text, uint32_t num_levels);

}  // namespace afterimage
