#include "trainer/forward/forward.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"
#include "core/vit/position_tables.h"
#include "core/vit/teacher_families.h"
#include "core/vit/torch_status.h"
#include "trainer/forward/forward_input.h"
#include "trainer/forward/step_forward.h"

namespace afterimage::trainer {
namespace {

// The results of one input, under the names of the golden files.
class Results {
 public:
  explicit Results(const std::string& name)
      : prefix_(absl::StrCat("output.", name, name.empty() ? "" : ".")) {}

  void Put(const std::string& name, const at::Tensor& tensor) {
    tensors_[prefix_ + name] = tensor.detach().contiguous();
  }
  // One tensor per level, numbered from `first`.
  void PutLevels(const std::string& stem, const std::vector<at::Tensor>& levels, size_t first) {
    for (size_t i = 0; i < levels.size(); ++i) Put(absl::StrCat(stem, ".", first + i), levels[i]);
  }
  void PutGradient(const std::string& parameter, const at::Tensor& gradient) {
    tensors_["grad." + parameter] = gradient.contiguous();
  }
  ParameterMap Take() { return std::move(tensors_); }

 private:
  const std::string prefix_;
  ParameterMap tensors_;
};

absl::StatusOr<at::ScalarType> ParseDtype(const std::string& name) {
  if (name == "f32") return at::kFloat;
  if (name == "f64") return at::kDouble;
  return absl::InvalidArgumentError(absl::StrCat("unknown type \"", name, "\": f32 and f64 are known"));
}

// The vision transformer of `file` (under `prefix`) for an input of `size` pixels; 0 = its own.
absl::StatusOr<TeacherModel> LoadNetwork(const SafetensorsFile& file, const TeacherOptions& options,
                                         uint32_t size, at::ScalarType dtype,
                                         const std::string& prefix = "") {
  TeacherOptions network = options;
  network.image_size = size;
  network.prefix = prefix;
  // Only OpenAI's CLIP can be the teacher of an official checkpoint under this name.
  if (prefix == "clip_model." && network.activation.empty()) network.activation = "quick_gelu";
  return LoadTeacherModel(file, network, dtype);
}

absl::StatusOr<ParameterMap> ForwardNetwork(const SafetensorsFile& file, const ForwardInput& input,
                                            const ForwardOptions& options, at::ScalarType dtype) {
  if (!options.gradients.empty() || options.student.heads > 0 || !options.teacher.weights.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(),
                     " is a vision transformer without an alignment: gradients, --heads and --teacher "
                     "belong to a student that has one (its heads are --teacher-heads)"));
  }
  const uint32_t asked =
      options.teacher.input_size > 0 ? options.teacher.input_size : options.teacher.image_size;
  TeacherOptions network = options.teacher;
  if (input.Has("pixel_values")) {  // normalised already: mean and std take no part, and need not be known
    network.mean = "0,0,0";
    network.std = "1,1,1";
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const TeacherModel model, LoadNetwork(file, network, asked, dtype));
  const VitConfig& vit = model.config;
  const int64_t view_size = options.teacher.image_size > 0   ? options.teacher.image_size
                            : options.teacher.input_size > 0 ? model.native_grid * vit.patch_size
                                                             : vit.image_size;
  AFTERIMAGE_ASSIGN_OR_RETURN(
      at::Tensor pixels, input.Pixels(view_size, model.mean, model.std,
                                      ": --view-size resizes its position table, as its family does it"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor visible,
                              input.Visible(pixels.size(0), vit.num_patches(), std::nullopt));
  return RunTorch([&] {
    const c10::NoGradGuard no_grad;
    Results results(options.name);
    if (view_size != vit.image_size) pixels = ResizePixels(pixels, vit.image_size, vit.image_size);
    VitForwardOptions forward;
    forward.visible = visible;
    forward.with_importance = !visible.defined();
    const VitOutput output = VitForward(vit, model.parameters, PatchRows(pixels, vit.patch_size), forward);
    results.PutLevels("hidden", output.hidden, 0);
    for (size_t i = 1; i < output.hidden.size(); ++i) {
      results.Put(absl::StrCat("target.", i), LayerNormNoAffine(output.hidden[i], kNormalizationEps));
    }
    if (forward.with_importance) {
      results.Put("importance", output.importance);
      results.Put("attention_class_row", output.class_attention);
    }
    results.Put("final_norm",
                at::layer_norm(output.hidden.back(), {vit.width}, model.parameters.at("norm.weight"),
                               model.parameters.at("norm.bias"), vit.layer_norm_eps));
    if (model.resized()) results.Put("position_table", model.parameters.at("pos_embed").squeeze(0));
    if (visible.defined()) results.Put("ids_keep", visible);
    return results.Take();
  });
}

// A step: what it is made of, checked; then run.
class Step {
 public:
  Step(const ForwardInput& input, const ForwardOptions& options, at::ScalarType dtype)
      : input_(input), options_(options), dtype_(dtype) {}

  absl::Status Prepare(const SafetensorsFile& file);
  ParameterMap Run();

 private:
  absl::Status LoadTeacher(const SafetensorsFile& file);
  absl::Status ReadTeacherLevels();
  // Marks the parameters whose gradients are asked for; needs the objective.
  absl::Status MarkGradients();
  void RunTeacher(Results& results);
  bool HasTargets() const { return teacher_.has_value() || !step_.teacher_levels.empty(); }

  const ForwardInput& input_;
  const ForwardOptions& options_;
  const at::ScalarType dtype_;
  StudentFile student_;
  std::optional<TeacherModel> teacher_;
  Objective objective_;
  StepInput step_;
  std::set<std::string> gradients_;  // our names
};

absl::Status Step::Prepare(const SafetensorsFile& file) {
  if (options_.teacher.image_size > 0) {
    return absl::InvalidArgumentError("--view-size: the student says the size of a step's views");
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(student_, LoadStudentFile(file, options_.student, dtype_));
  const VitConfig& vit = student_.vit;
  AFTERIMAGE_ASSIGN_OR_RETURN(step_.pixels, input_.Pixels(vit.image_size, kImageNetMean, kImageNetStd, ""));
  const int64_t batch = step_.pixels.size(0);
  AFTERIMAGE_ASSIGN_OR_RETURN(step_.visible, input_.Visible(batch, vit.num_patches(), options_.mask_ratio));
  AFTERIMAGE_ASSIGN_OR_RETURN(step_.drop_path, input_.DropPath(options_.drop_path, vit.depth, batch));
  AFTERIMAGE_RETURN_IF_ERROR(LoadTeacher(file));
  AFTERIMAGE_RETURN_IF_ERROR(student_.alignment.Validate());
  AFTERIMAGE_ASSIGN_OR_RETURN(objective_, ObjectiveOf(student_));
  return MarkGradients();
}

absl::Status Step::LoadTeacher(const SafetensorsFile& file) {
  const bool given = !options_.teacher.weights.empty();
  if (!given && student_.teacher_prefix.empty()) return ReadTeacherLevels();
  std::shared_ptr<const SafetensorsFile> other;
  if (given) {
    AFTERIMAGE_ASSIGN_OR_RETURN(other, SafetensorsFile::OpenCheckpoint(options_.teacher.weights));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(
      teacher_, LoadNetwork(given ? *other : file, options_.teacher, options_.teacher.input_size, dtype_,
                            given ? "" : student_.teacher_prefix));
  const VitConfig& config = teacher_->config;
  const VitConfig& vit = student_.vit;
  if (config.grid() != vit.grid() ||
      (options_.teacher.input_size == 0 && config.image_size != vit.image_size)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the teacher makes a grid of ", config.grid(), " x ", config.grid(), " of ", config.image_size,
        " pixels, the student one of ", vit.grid(), " x ", vit.grid(), " of ", vit.image_size,
        ": give --teacher-input-size ", vit.grid() * config.patch_size, ", to which views are then resized"));
  }
  AlignmentConfig& alignment = student_.alignment;
  if (config.width != alignment.teacher_width) {
    return absl::InvalidArgumentError(absl::StrCat("the alignment predicts levels of ",
                                                   alignment.teacher_width, " channels, the teacher has ",
                                                   config.width, ": it is not this student's teacher"));
  }
  alignment.num_teacher_levels = static_cast<uint32_t>(config.depth);
  return absl::OkStatus();
}

absl::Status Step::ReadTeacherLevels() {
  const AlignmentConfig& alignment = student_.alignment;
  const auto suffix = [](uint32_t level) { return absl::StrCat("teacher.hidden.", level); };
  if (std::none_of(alignment.levels.begin(), alignment.levels.end(),
                   [&](uint32_t level) { return input_.Has(suffix(level)); })) {
    return absl::OkStatus();  // a student without targets
  }
  for (const uint32_t level : alignment.levels) {
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const at::Tensor hidden,
        input_.Floats(suffix(level),
                      {step_.pixels.size(0), 1 + student_.vit.num_patches(), alignment.teacher_width}));
    step_.teacher_levels.push_back(hidden);
  }
  return absl::OkStatus();
}

absl::Status Step::MarkGradients() {
  if (options_.gradients.empty()) return absl::OkStatus();
  if (!HasTargets()) {
    return absl::InvalidArgumentError(
        "gradients need targets: give the teacher with --teacher, or its levels as "
        "input.teacher.hidden.<level>");
  }
  std::set<std::string> without = {"norm.weight", "norm.bias"};  // the final norm takes no part in the loss
  for (size_t i = 0; i < student_.alignment.levels.size(); ++i) {
    if (objective_.weights[i] != 0) continue;
    for (const auto& [name, tensor] : student_.parameters) {
      if (absl::StartsWith(name, absl::StrCat("align.heads.", student_.alignment.levels[i], ".")))
        without.insert(name);
    }
  }
  for (const std::string& asked : options_.gradients) {
    bool found = false;
    for (const auto& [ours, in_file] : student_.file_names) {
      if (asked == "all" ? without.contains(ours) || ours == "pos_embed" : asked != in_file) continue;
      if (without.contains(ours)) {
        return absl::InvalidArgumentError(
            absl::StrCat("--grad ", asked, ": it takes no part in the loss, and has no gradient"));
      }
      found = true;
      gradients_.insert(ours);
    }
    if (!found) {
      return absl::InvalidArgumentError(absl::StrCat("--grad ", asked,
                                                     ": the student has no such parameter; it has ",
                                                     student_.file_names.begin()->second,
                                                     " and others; `all` is all "
                                                     "that pre-training trains"));
    }
  }
  for (const std::string& name : gradients_) student_.parameters.at(name).set_requires_grad(true);
  return absl::OkStatus();
}

void Step::RunTeacher(Results& results) {
  const c10::NoGradGuard no_grad;
  const at::Tensor pixels = TeacherPixels(*teacher_, step_.pixels);
  const VitOutput seen =
      VitForward(teacher_->config, teacher_->parameters, PatchRows(pixels, teacher_->config.patch_size),
                 {.with_importance = true});
  results.Put("teacher.pixel_values", pixels);
  results.PutLevels("teacher.hidden", seen.hidden, 0);
  results.Put("teacher.importance", seen.importance);
  if (teacher_->resized())
    results.Put("teacher.position_table", teacher_->parameters.at("pos_embed").squeeze(0));
  for (const uint32_t level : student_.alignment.levels) step_.teacher_levels.push_back(seen.hidden[level]);
}

ParameterMap Step::Run() {
  Results results(options_.name);
  if (teacher_.has_value()) RunTeacher(results);
  const StepOutput output = ForwardStep(student_, objective_, step_);
  if (step_.visible.defined()) results.Put("ids_keep", step_.visible);
  results.PutLevels("student.block", output.blocks, 1);
  for (size_t i = 0; i < student_.alignment.levels.size(); ++i) {
    const uint32_t level = student_.alignment.levels[i];
    if (student_.alignment.fusion != Fusion::kSimple) {
      results.Put(absl::StrCat("student.mixed.", level), output.mixed[i]);
    }
    results.Put(absl::StrCat("student.aligned.", level), output.aligned[i]);
    if (HasTargets()) results.Put(absl::StrCat("teacher.target.", level), output.targets[i]);
  }
  if (!HasTargets()) return results.Take();
  results.Put("loss_per_level", output.loss_per_level);
  results.Put("loss", output.loss.reshape({1}));
  if (gradients_.empty()) return results.Take();
  output.loss.backward();
  for (const std::string& name : gradients_) {
    results.PutGradient(student_.file_names.at(name), student_.parameters.at(name).grad());
  }
  return results.Take();
}

}  // namespace

absl::StatusOr<ParameterMap> Forward(const ForwardOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::ScalarType dtype, ParseDtype(options.dtype));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::shared_ptr<const SafetensorsFile> file,
                              SafetensorsFile::OpenCheckpoint(options.weights));
  AFTERIMAGE_ASSIGN_OR_RETURN(const ForwardInput input,
                              ForwardInput::Open(options.input, options.name, dtype));
  if (options.num_threads > 0) at::set_num_threads(options.num_threads);
  if (!IsStudentFile(*file)) return ForwardNetwork(*file, input, options, dtype);
  return RunTorch([&]() -> absl::StatusOr<ParameterMap> {
    Step step(input, options, dtype);
    AFTERIMAGE_RETURN_IF_ERROR(step.Prepare(*file));
    return step.Run();
  });
}

}  // namespace afterimage::trainer
