// The two worlds in which precompute and trainer are measured: the demo's, and one of realistic size.
#pragma once

#include <memory>
#include <string>

#include "core/feature/feature_spec.h"
#include "core/feature/image_index.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"

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
// 224 px with random weights over made-up photographs of 500 x 375, and a student of the same size. `folder`
// takes what has to be written.
World MakeWorld(const std::string& name, const std::string& folder, int num_images);

// Top five levels with pixels, as `afterimage-precompute` makes them; tokens "all" or "visible".
SetDescription DescribeSet(const World& world, const std::string& tokens, const std::string& codec);

// Precomputes one view of each image into the cache folder, which is made, with the program's own settings.
// Returns the seconds that the pipeline ran: all but opening and creating.
double Precompute(World& world, SetDescription description, const std::string& cache_folder);

// As afterimage-precompute calls the teacher.
uint32_t ViewsPerCall(const TeacherRunner& teacher);

}  // namespace afterimage::benchmarks
