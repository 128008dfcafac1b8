// The worlds in which precompute and trainer are measured: the demo's, and two of realistic size.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/view/view.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {

struct World {
  std::string images_path;
  TeacherOptions teacher_options;
  VitConfig student;   // of the teacher's depth, over its views
  int batch_size = 0;  // of training
  std::unique_ptr<ImageIndex> images;
  std::unique_ptr<TeacherRunner> teacher;
};

// "demo": the committed teacher (28 px) over Fashion-MNIST, and the demo's student. "vit_s": a ViT-S/16 at
// 224 px with random weights over made-up photographs of 500 x 375, and a student of the same size;
// "vit_b": the same student with a ViT-B/16 as teacher. `folder` takes what has to be written.
World MakeWorld(const std::string& name, const std::string& folder, int num_images);

// Top five levels with pixels, as `afterimage-precompute` makes them; tokens "all" or "visible".
SetDescription DescribeSet(const World& world, const std::string& tokens, const std::string& codec);

// Precomputes one view of each image into the cache folder, which is made, with the program's own settings.
// Returns the seconds that the pipeline ran: all but opening and creating.
double Precompute(World& world, SetDescription description, const std::string& cache_folder);

// One view of each image.
std::vector<View> MakeViews(const World& world, const ViewSpec& spec);
// The teacher over all of them, in batches as afterimage-precompute makes them.
Cost RunTeacher(World& world, std::span<const View> views, std::span<const uint32_t> levels);

// As afterimage-precompute calls the teacher.
uint32_t ViewsPerCall(const TeacherRunner& teacher);

}  // namespace afterimage::benchmarks
