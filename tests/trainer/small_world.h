// A small data set, a small teacher and a small cache, made in a temporary folder with the real code.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/vit/teacher_runner.h"

namespace afterimage::trainer::testing {

struct SmallWorldOptions {
  int num_images = 24;      // in two classes: bright left halves and bright right halves, with noise
  int num_undecodable = 0;  // further files of the first class that are no pictures
  uint32_t seed = 1;        // of the noise
};

// Writes <folder>/left/*.ppm and <folder>/right/*.ppm, 16 x 16 pixels.
void WriteImages(const std::string& folder, const SmallWorldOptions& options = {});

// Writes a ViT of 12 x 12 pixels, patch 3 (a grid of 4), depth 3, as `supervise` exports one.
void WriteTeacher(const std::string& path, uint64_t seed = 7, int64_t width = 16);

// The set that fits the teacher: levels 2 and 3, crops of at least a third.
SetDescription DescribeSet(const TeacherRunner& teacher, TokenPolicy policy, Codec codec, bool pixels = true);

// Puts a profile of the teacher's features into `catalog`, and names it in `description`, for codecs that
// need one. Its deviations are too small on purpose, so that some values of most planes are exceptions.
absl::Status Calibrate(FeatureCatalog& catalog, TeacherRunner& teacher, const ImageIndex& images,
                       SetDescription& description);

// Creates the set in `catalog` and computes every record with the teacher, its importance taken from another
// set where one is given: what afterimage-precompute does.
absl::Status FillCache(FeatureCatalog& catalog, TeacherRunner& teacher, const ImageIndex& images,
                       const SetDescription& description, uint32_t num_view_seeds,
                       FeatureStore* importance_from = nullptr);

}  // namespace afterimage::trainer::testing
