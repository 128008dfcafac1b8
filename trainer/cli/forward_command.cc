#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/vit/tensor_file.h"
#include "trainer/cli/command.h"
#include "trainer/forward/compare.h"
#include "trainer/forward/forward.h"

namespace afterimage::trainer {
namespace {

struct Options {
  ForwardOptions forward;
  std::string output;
  std::string compare;
  std::optional<double> rtol;
};

int Run(const Options& options) {
  if (options.output.empty() && options.compare.empty()) {
    return FailCommand(
        absl::InvalidArgumentError("what becomes of the results? Give --output, --compare, or both"));
  }
  const absl::StatusOr<ParameterMap> tensors = Forward(options.forward);
  if (!tensors.ok()) return FailCommand(tensors.status());
  if (!options.output.empty()) {
    const absl::Status saved = SaveTensors(options.output, *tensors, {{"format", "pt"}});
    if (!saved.ok()) return FailCommand(saved);
    std::printf("%s: %zu tensors\n", options.output.c_str(), tensors->size());
  }
  if (options.compare.empty()) return 0;
  const absl::StatusOr<Comparison> comparison = CompareTensors(
      *tensors, options.compare, {.in_double = options.forward.dtype == "f64", .rtol = options.rtol});
  if (!comparison.ok()) return FailCommand(comparison.status());
  std::fputs(comparison->Text().c_str(), stdout);
  std::fflush(stdout);
  const int outside = comparison->num_outside();
  if (outside > 0) {
    return FailCommand(absl::FailedPreconditionError(absl::StrCat(outside, " of ", comparison->tensors.size(),
                                                                  " tensors differ from ", options.compare,
                                                                  " by more than the tolerance")));
  }
  std::printf("%zu tensors equal those of %s within the tolerance\n", comparison->tensors.size(),
              options.compare.c_str());
  return 0;
}

void AddNetworkFlags(CLI::App& command, TeacherOptions& teacher) {
  const char* const group = "The vision transformer, or a step's teacher: what no tensor tells";
  command.add_option("--teacher-family", teacher.family, "instead of recognising it")->group(group);
  command.add_option("--teacher-heads", teacher.num_heads, "attention heads, where no config tells")
      ->group(group);
  command
      .add_option("--teacher-activation", teacher.activation, "gelu or quick_gelu, instead of the family's")
      ->group(group);
  command.add_option("--teacher-eps", teacher.layer_norm_eps, "LayerNorm eps, instead of the family's")
      ->group(group);
  command.add_option("--teacher-mean", teacher.mean, "pixel mean in [0, 1]: three decimals, comma-separated")
      ->group(group);
  command.add_option("--teacher-std", teacher.std, "pixel standard deviation, likewise")->group(group);
  command
      .add_option("--view-size", teacher.image_size, "side of the views, where it is not the network's own")
      ->group(group);
  command
      .add_option("--teacher-input-size", teacher.input_size,
                  "side of the network's input, to which each view is resized: 196 for CLIP-L/14")
      ->group(group);
}

void AddStepFlags(CLI::App& command, ForwardOptions& o) {
  const char* const group =
      "A step: a student with its alignment (defaults: the checkpoint's, else the recipe's)";
  command.add_option("--heads", o.student.heads, "attention heads of the student")->group(group);
  command
      .add_option("--teacher", o.teacher.weights,
                  "the teacher's weights, where they are not in the student's file")
      ->group(group);
  command.add_option("--fusion", o.student.fusion, "linear, sum, simple")->group(group);
  command.add_option("--head", o.student.head, "linear, norm_linear, mlp, mlp2")->group(group);
  command.add_option("--target-norm", o.student.target_norm, "whiten, none, l2")->group(group);
  command.add_option("--loss", o.student.loss_type, "smoothl1, l1, l2")->group(group);
  command.add_option("--loss-weights", o.student.loss_weights, "topK, mean, out, linear_decay, midK")
      ->group(group);
  command.add_option("--mask-ratio", o.mask_ratio, "with input.ids_shuffle: the share that is not visible")
      ->capture_default_str()
      ->group(group);
  command.add_option("--drop-path", o.drop_path, "the rate that input.drop_path_keep was drawn at")
      ->capture_default_str()
      ->group(group);
  command.add_option("--grad", o.gradients, "parameters whose gradients are written, or all")
      ->delimiter(',')
      ->group(group);
}

}  // namespace

void AddForwardCommand(CLI::App& app, CommandBody& chosen) {
  CLI::App* command = app.add_subcommand(
      "forward",
      "Runs a teacher, a student or a whole step on tensors from a file, to compare it with Python.");
  auto options = std::make_shared<Options>();
  ForwardOptions& o = options->forward;
  command->add_option("--weights", o.weights, "a vision transformer, or a student's checkpoint, .safetensors")
      ->required();
  command->add_option("--input", o.input, ".safetensors with input.pixel_values and others")->required();
  command->add_option("--output", options->output, "the .safetensors file to write: output.*, grad.*");
  command->add_option(
      "--compare", options->compare,
      ".safetensors with the reference's output.* and grad.*: prints the differences; exit status 1 "
      "where one is outside the tolerance");
  command->add_option(
      "--rtol", options->rtol,
      "tolerance relative to a tensor's largest value, instead of that of the JSON beside the reference");
  command->add_option("--name", o.name, "of one of several inputs in a file: input.NAME.*, output.NAME.*");
  command->add_option("--dtype", o.dtype, "f32 or f64")
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f64"}));
  command->add_option("--threads", o.num_threads, "of the arithmetic; 0 = all cores")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  AddNetworkFlags(*command, o.teacher);
  AddStepFlags(*command, o);
  command->callback([options, &chosen] { chosen = [options] { return Run(*options); }; });
}

}  // namespace afterimage::trainer
