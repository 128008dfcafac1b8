#include "core/vit/teacher_runner.h"

namespace afterimage {

FeatureSpec MakeFeatureSpec(const TeacherRunner& teacher, const ViewSpec& view) {
  FeatureSpec spec;
  spec.teacher = teacher.TeacherSpec();
  spec.preprocessing = teacher.PreprocessingSpec();
  spec.view = view;
  spec.geometry = teacher.geometry();
  spec.normalization_eps = DecimalText(kNormalizationEps);
  return spec;
}

}  // namespace afterimage
