// A student with its alignment, from a checkpoint of ours or of the authors.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/tensors/safetensors.h"
#include "core/vit/vit.h"
#include "trainer/model/alignment.h"

namespace afterimage::trainer {

// What is to be said about a student beyond its tensors. Empty or 0 = as the checkpoint says it (those of
// `pretrain` do), else the recipe's; heads are in no tensor and must come from one of the two.
struct StudentFileOptions {
  int64_t heads = 0;
  std::string fusion;
  std::string head;
  std::string target_norm;
  std::string loss_type;
  std::string loss_weights;
};

struct StudentFile {
  VitConfig vit;
  AlignmentConfig alignment;                      // all levels that the file has a head for
  ParameterMap parameters;                        // timm's names and "align.*", on the CPU
  StudentFileOptions options;                     // resolved: nothing is empty
  std::map<std::string, std::string> file_names;  // ours -> the file's, without "weights."
  std::string teacher_prefix;                     // of the frozen teacher's tensors in the file; empty = none
};

// Whether the file holds a student with an alignment: a checkpoint of `pretrain` ("weights.*"), or one in the
// authors' names ("distill_heads.*").
bool IsStudentFile(const SafetensorsFile& file);

// InvalidArgument: a tensor is missing, one too many or of a wrong shape (named as in the file, both shapes
// told); heads unknown or not dividing the width; a fusion that does not pair the depths; unknown names of
// fusion or head.
absl::StatusOr<StudentFile> LoadStudentFile(const SafetensorsFile& file, const StudentFileOptions& options,
                                            at::ScalarType dtype);

}  // namespace afterimage::trainer
