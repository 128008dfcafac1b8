#include "trainer/forward/student_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/status_macros.h"
#include "core/identity/canonical_spec.h"
#include "core/vit/teacher_families.h"
#include "core/vit/tensor_file.h"
#include "core/vit/torch_status.h"
#include "trainer/model/official_names.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {
namespace {

constexpr char kCheckpointPrefix[] = "weights.";
constexpr char kCheckpointConfig[] = "config";  // the metadata entry of a run's configuration

bool StartsWithAny(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
}

bool IsCheckpoint(const SafetensorsFile& file) {
  return file.tensors().contains(absl::StrCat(kCheckpointPrefix, "cls_token"));
}

// Options that are not given come from the checkpoint's configuration, then from the recipe.
StudentFileOptions Resolve(StudentFileOptions options, const SafetensorsFile& file) {
  Json config = Json::object();
  const auto found = file.metadata().find(kCheckpointConfig);
  if (found != file.metadata().end()) {
    Json parsed = Json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object()) config = std::move(parsed);
  }
  const auto resolve = [&](std::string& value, const char* key, const char* recipe) {
    const auto told = config.find(key);
    if (value.empty()) value = told != config.end() && told->is_string() ? told->get<std::string>() : recipe;
  };
  resolve(options.fusion, "fusion", "linear");
  resolve(options.head, "head", "linear");
  resolve(options.target_norm, "target_norm", "whiten");
  resolve(options.loss_type, "loss_type", "smoothl1");
  resolve(options.loss_weights, "loss_weights", "top5");
  if (options.heads == 0 && config.contains("heads") && config["heads"].is_number_integer()) {
    options.heads = config["heads"].get<int64_t>();
  }
  return options;
}

absl::Status ReadTensors(const SafetensorsFile& file, at::ScalarType dtype, StudentFile& student) {
  const bool checkpoint = IsCheckpoint(file);
  for (const auto& [name, view] : file.tensors()) {
    absl::string_view rest = name;
    if (StartsWithAny(name, NonWeightPrefixes())) continue;
    if (checkpoint && !absl::ConsumePrefix(&rest, kCheckpointPrefix)) continue;  // the optimiser's
    bool of_teacher = false;
    for (const std::string& prefix : OfficialTeacherPrefixes()) {
      if (!name.starts_with(prefix)) continue;
      student.teacher_prefix = prefix;
      of_teacher = true;
    }
    if (of_teacher) continue;
    const std::string ours = OurParameterName(rest, student.alignment.head);
    if (IsOfFurtherTeacher(ours)) continue;
    student.file_names[ours] = std::string(rest);
    student.parameters[ours] = ToTensor(view, dtype);
  }
  return absl::OkStatus();
}

absl::Status ReadVit(const StudentFileOptions& options, StudentFile& student) {
  VitConfig& vit = student.vit;
  AFTERIMAGE_RETURN_IF_ERROR(ReadVitShapes(student.parameters, vit));
  const auto patch = student.parameters.find("patch_embed.proj.weight");
  const auto table = student.parameters.find("pos_embed");
  if (patch == student.parameters.end() || patch->second.dim() != 4 || table == student.parameters.end() ||
      table->second.dim() != 3) {
    return absl::InvalidArgumentError(
        "patch_embed.proj.weight [width, 3, patch, patch] or pos_embed [1, 1 + patches, width] is missing, "
        "or of "
        "another kind");
  }
  vit.patch_size = patch->second.size(-1);
  const int64_t num_patches = table->second.size(1) - 1;
  const int64_t grid = std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(num_patches, 0))));
  if (grid * grid != num_patches || grid == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("pos_embed has ", num_patches, " rows after the class token's, no square grid"));
  }
  vit.image_size = grid * vit.patch_size;
  if (options.heads <= 0) {
    return absl::InvalidArgumentError(
        "the student's number of attention heads is in no tensor: give --heads");
  }
  vit.heads = options.heads;
  return vit.Validate();
}

// The levels that have a head, and its output width.
absl::Status ReadAlignment(StudentFile& student) {
  AlignmentConfig& alignment = student.alignment;
  std::set<uint32_t> levels;
  for (const auto& [name, tensor] : student.parameters) {
    absl::string_view rest = name;
    uint32_t level = 0;
    if (!absl::ConsumePrefix(&rest, "align.heads.") ||
        !absl::SimpleAtoi(rest.substr(0, rest.find('.')), &level))
      continue;
    levels.insert(level);
  }
  alignment.levels.assign(levels.begin(), levels.end());
  if (alignment.levels.empty()) return absl::InvalidArgumentError("the file has no alignment heads");
  // The loss weighs the last level or ends below it with "midK": a checkpoint without the upper heads counts
  // as one of a teacher that ends there.
  alignment.num_teacher_levels = alignment.levels.back();
  alignment.student_depth = student.vit.depth;
  alignment.student_width = student.vit.width;
  const bool two_matrices = alignment.head == Head::kMlp || alignment.head == Head::kMlp2;
  const std::string output =
      absl::StrCat("align.heads.", alignment.levels.back(), two_matrices ? ".fc2.bias" : ".bias");
  const auto bias = student.parameters.find(output);
  if (bias == student.parameters.end() || bias->second.dim() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("the alignment heads are not of the kind \"",
                                                   student.options.head,
                                                   "\": --head is one of linear, norm_linear, mlp, mlp2"));
  }
  alignment.teacher_width = bias->second.size(0);
  return alignment.Validate();
}

absl::StatusOr<StudentFile> Load(const SafetensorsFile& file, const StudentFileOptions& options,
                                 at::ScalarType dtype) {
  StudentFile student;
  student.options = Resolve(options, file);
  AFTERIMAGE_ASSIGN_OR_RETURN(student.alignment.fusion, ParseFusion(student.options.fusion));
  AFTERIMAGE_ASSIGN_OR_RETURN(student.alignment.head, ParseHead(student.options.head));
  AFTERIMAGE_RETURN_IF_ERROR(ReadTensors(file, dtype, student));
  AFTERIMAGE_RETURN_IF_ERROR(ReadVit(student.options, student));
  AFTERIMAGE_RETURN_IF_ERROR(ReadAlignment(student));
  std::map<std::string, std::vector<int64_t>> wanted = VitParameterShapes(student.vit);
  wanted.merge(AlignmentShapes(student.alignment));
  AFTERIMAGE_RETURN_IF_ERROR(
      WithContext(CheckParameterShapes(student.parameters, wanted, {},
                                       [&](const std::string& name) {
                                         const auto found = student.file_names.find(name);
                                         return found == student.file_names.end() ? name : found->second;
                                       }),
                  absl::StrCat("a student with --fusion ", student.options.fusion, " and --head ",
                               student.options.head)));
  return student;
}

}  // namespace

bool IsStudentFile(const SafetensorsFile& file) {
  if (IsCheckpoint(file)) return true;
  const auto first = file.tensors().lower_bound("distill_heads.");
  return first != file.tensors().end() && first->first.starts_with("distill_heads.");
}

absl::StatusOr<StudentFile> LoadStudentFile(const SafetensorsFile& file, const StudentFileOptions& options,
                                            at::ScalarType dtype) {
  absl::StatusOr<StudentFile> student = RunTorch([&] { return Load(file, options, dtype); });
  if (!student.ok()) return WithContext(student.status(), file.path());
  return student;
}

}  // namespace afterimage::trainer
