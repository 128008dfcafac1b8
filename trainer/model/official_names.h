// How the authors' checkpoints (github OpenDriveLab/maskalign) name what we name otherwise.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "trainer/model/alignment.h"

namespace afterimage::trainer {

// Our name of a parameter of the student: "distill_weights" is "align.mix", "distill_heads.<level - 1>.*" is
// "align.heads.<level>.*" with the parts of a head as `head` has them. Any other name is timm's and ours.
std::string OurParameterName(absl::string_view official, Head head);

// The frozen teacher lies in the same file, under one of these.
const std::vector<std::string>& OfficialTeacherPrefixes();

}  // namespace afterimage::trainer
