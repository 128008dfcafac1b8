// A fixture: golden weights, changed, in a folder of their own.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors.h"
#include "core/vit/teacher_families.h"
#include "gtest/gtest.h"
#include "tests/core/vit/golden.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {

using Tensors = std::map<std::string, TensorView>;

class ChangedTeacherTest : public ::testing::Test {
 protected:
  absl::StatusOr<TeacherModel> Load(
      const std::string& golden_name, const std::function<void(Tensors&)>& change,
      const std::function<void(TeacherOptions&)>& adjust = [](TeacherOptions&) {},
      const std::map<std::string, std::string>& metadata = {}) {
    const GoldenFile golden(golden_name);
    Tensors tensors = golden.file().tensors();
    change(tensors);
    AFTERIMAGE_EXPECT_OK(WriteSafetensors(path(), tensors, metadata));
    AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path()));
    TeacherOptions options = golden.Options();
    adjust(options);
    return LoadTeacherModel(*file, options, at::kFloat);
  }
  std::string path() const { return (folder_ / "teacher.safetensors").string(); }
  void WriteBeside(const std::string& name, const std::string& text) {
    AFTERIMAGE_ASSERT_OK(WriteFileAtomically(folder_ / name, text));
  }

  static void Unchanged(Tensors&) {}
  static void WithoutSettings(TeacherOptions& options) { options = {}; }

  const TemporaryFolder folder_;
};

}  // namespace afterimage::testing
