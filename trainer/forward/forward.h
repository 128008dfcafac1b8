// One forward pass over tensors from a file, for comparing with Python: `afterimage-train forward`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/vit.h"
#include "trainer/forward/student_file.h"

namespace afterimage::trainer {

struct ForwardOptions {
  std::string weights;        // a vision transformer, or a student with its alignment (IsStudentFile)
  std::string input;          // a file with "input.*" (forward_input.h)
  std::string name;           // of one of several inputs in it: "input.<name>.*" -> "output.<name>.*"
  std::string dtype = "f32";  // "f32" or "f64": of weights, inputs and arithmetic
  int num_threads = 0;        // of LibTorch; 0 = its own choice

  // What no tensor tells of the vision transformer, or of a step's teacher. `weights` is that of a step's
  // teacher where it does not lie in the student's file. `image_size` and `input_size` as for a
  // TeacherRunner; in a step the student says the size of the views.
  TeacherOptions teacher;

  // Of a step.
  StudentFileOptions student;
  double mask_ratio = 0.7;             // how many of "ids_shuffle" are visible; not looked at with "ids_keep"
  double drop_path = 0;                // the rate that "drop_path_keep" was drawn at
  std::vector<std::string> gradients;  // names as in the weights file, or "all": all that pre-training trains
};

// Runs on the CPU; returns tensors under the names of tests/golden.
//
// A vision transformer: "output.hidden.<i>", "output.target.<i>" (affine-free LayerNorm),
// "output.final_norm"; over all patches also "output.importance" and "output.attention_class_row";
// "output.position_table" where it was resized. With "input.ids_keep" it sees those patches only.
//
// A step: "output.student.{block,mixed,aligned}.<i>", "output.ids_keep"; with a teacher, in the student's
// file, in `teacher.weights`, or as "input.teacher.hidden.<level>", also
// "output.teacher.{pixel_values,hidden.<i>, importance,position_table,target.<i>}", "output.loss_per_level",
// "output.loss" and "grad.<parameter>". `mixed` is not there with fusion simple, whose mix is the block
// itself.
//
// InvalidArgument, before anything is computed: weights or inputs that do not fit (the tensor named, both
// shapes told), a fusion that does not pair the depths, a target norm that is none of a view's own, a mask
// that leaves nothing, a parameter that does not exist or gets no gradient.
absl::StatusOr<ParameterMap> Forward(const ForwardOptions& options);

}  // namespace afterimage::trainer
