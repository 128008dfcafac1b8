#include "core/vit/teacher_settings.h"

#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<double> Number(const Json& value) {
  double number = 0;
  if (value.is_string()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(number, ParseDecimal(value.get<std::string>()));
  } else if (value.is_number()) {
    number = value.get<double>();
  } else {
    return absl::InvalidArgumentError(absl::StrCat("not a number: ", value.dump()));
  }
  if (!std::isfinite(number)) return absl::InvalidArgumentError("not a finite number");
  return number;
}

absl::StatusOr<ChannelValues> ParseChannels(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  if (parts.size() != 3)
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not three decimals"));
  ChannelValues values;
  for (size_t i = 0; i < 3; ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(values[i], ParseDecimal(absl::StripAsciiWhitespace(parts[i])));
  }
  return values;
}

absl::StatusOr<ChannelValues> Channels(const Json& value) {
  if (value.is_string()) return ParseChannels(value.get<std::string>());
  if (!value.is_array() || value.size() != 3) {
    return absl::InvalidArgumentError(absl::StrCat("not three numbers: ", value.dump()));
  }
  ChannelValues values;
  for (size_t i = 0; i < 3; ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(values[i], Number(value[i]));
  }
  return values;
}

// Reads object[key], where it exists, through `parse` into `target`; errors name the key.
template <typename T, typename Parse>
absl::Status ReadField(const Json& object, const char* key, Parse parse, std::optional<T>& target) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return absl::OkStatus();
  auto value = parse(*found);
  if (!value.ok()) return WithContext(value.status(), key);
  target = static_cast<T>(*value);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Size(const Json& value) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const double number, Number(value));
  if (number < 1 || number > 1e9 || number != std::floor(number)) {
    return absl::InvalidArgumentError(absl::StrCat("not a size: ", value.dump()));
  }
  return static_cast<int64_t>(number);
}

absl::StatusOr<Activation> ReadActivation(const Json& value) {
  if (!value.is_string())
    return absl::InvalidArgumentError(absl::StrCat("not an activation: ", value.dump()));
  return ParseActivation(value.get<std::string>());
}

absl::StatusOr<TeacherSettings> FromOurConfig(const Json& config) {
  TeacherSettings settings;
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "heads", Size, settings.heads));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "activation", ReadActivation, settings.activation));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "layer_norm_eps", Number, settings.layer_norm_eps));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "mean", Channels, settings.mean));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "std", Channels, settings.std));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "width", Size, settings.width));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "image_size", Size, settings.image_size));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "patch_size", Size, settings.patch_size));
  return settings;
}

// transformers' config.json; a whole CLIP keeps its image tower under vision_config.
absl::StatusOr<TeacherSettings> FromTransformers(const Json& config) {
  const auto vision = config.find("vision_config");
  const Json& tower = vision != config.end() && vision->is_object() ? *vision : config;
  TeacherSettings settings;
  // What equals the class's default may be left out of the file: 12 heads in all classes that we load,
  // quick-GELU in CLIP's.
  settings.heads = 12;
  const std::string type =
      config.value("model_type", Json()).is_string() ? config["model_type"].get<std::string>() : "";
  if (type == "clip" || type == "clip_vision_model") settings.activation = Activation::kQuickGelu;
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(tower, "num_attention_heads", Size, settings.heads));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(tower, "hidden_act", ReadActivation, settings.activation));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(tower, "layer_norm_eps", Number, settings.layer_norm_eps));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(tower, "hidden_size", Size, settings.width));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(tower, "patch_size", Size, settings.patch_size));
  return settings;
}

// timm's config.json names the architecture, whose head count only timm knows, and holds the input
// normalisation.
absl::StatusOr<TeacherSettings> FromTimm(const Json& config) {
  TeacherSettings settings;
  const auto inputs = config.find("pretrained_cfg");
  const Json& source = inputs != config.end() && inputs->is_object() ? *inputs : config;
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(source, "mean", Channels, settings.mean));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(source, "std", Channels, settings.std));
  const auto arguments = config.find("model_args");
  if (arguments != config.end() && arguments->is_object()) {
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*arguments, "num_heads", Size, settings.heads));
  }
  return settings;
}

absl::StatusOr<TeacherSettings> FromOpenClip(const Json& config, int64_t width) {
  TeacherSettings settings;
  const Json& model = config.at("model_cfg");
  std::optional<bool> quick_gelu;
  const auto parse_flag = [](const Json& value) -> absl::StatusOr<bool> {
    if (!value.is_boolean()) return absl::InvalidArgumentError("neither true nor false");
    return value.get<bool>();
  };
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(model, "quick_gelu", parse_flag, quick_gelu));
  // open_clip's own defaults: GELU, heads of 64 channels.
  settings.activation = quick_gelu.value_or(false) ? Activation::kQuickGelu : Activation::kGelu;
  const auto vision = model.find("vision_cfg");
  if (vision != model.end() && vision->is_object()) {
    std::optional<int64_t> head_width = 64;
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*vision, "head_width", Size, head_width));
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*vision, "width", Size, settings.width));
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*vision, "patch_size", Size, settings.patch_size));
    if (width % *head_width == 0) settings.heads = width / *head_width;
  }
  const auto inputs = config.find("preprocess_cfg");
  if (inputs != config.end() && inputs->is_object()) {
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*inputs, "mean", Channels, settings.mean));
    AFTERIMAGE_RETURN_IF_ERROR(ReadField(*inputs, "std", Channels, settings.std));
  }
  return settings;
}

absl::StatusOr<TeacherSettings> FromConfigText(const std::string& text, int64_t width) {
  const Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("not a JSON object");
  if (config.contains("model_cfg") && config["model_cfg"].is_object()) return FromOpenClip(config, width);
  if (config.contains("architecture")) return FromTimm(config);
  if (config.contains("model_type") || config.contains("num_attention_heads"))
    return FromTransformers(config);
  return FromOurConfig(config);
}

// transformers' preprocessor_config.json.
absl::StatusOr<TeacherSettings> FromPreprocessorText(const std::string& text) {
  const Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) return absl::InvalidArgumentError("not a JSON object");
  TeacherSettings settings;
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "image_mean", Channels, settings.mean));
  AFTERIMAGE_RETURN_IF_ERROR(ReadField(config, "image_std", Channels, settings.std));
  return settings;
}

// What `parse` makes of a file, or nothing where there is none.
template <typename Parse>
absl::StatusOr<std::optional<TeacherSettings>> ReadBeside(const fs::path& path, Parse parse) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) return std::optional<TeacherSettings>();
  AFTERIMAGE_RETURN_IF_ERROR(text.status());
  absl::StatusOr<TeacherSettings> settings = parse(*text);
  if (!settings.ok()) return WithContext(settings.status(), path.string());
  return std::optional<TeacherSettings>(*std::move(settings));
}

}  // namespace

absl::StatusOr<ChannelValues> ParseChannelValues(const Json& value) { return Channels(value); }

void TeacherSettings::FillFrom(const TeacherSettings& other) {
  if (!heads) heads = other.heads;
  if (!activation) activation = other.activation;
  if (!layer_norm_eps) layer_norm_eps = other.layer_norm_eps;
  if (!mean) mean = other.mean;
  if (!std) std = other.std;
  if (!width) width = other.width;
  if (!image_size) image_size = other.image_size;
  if (!patch_size) patch_size = other.patch_size;
}

absl::Status TeacherSettings::CheckComplete() const {
  std::vector<absl::string_view> unknown;
  if (!heads) unknown.push_back("the number of heads (--teacher-heads; no known model has these sizes)");
  if (!activation) {
    unknown.push_back(
        "the activation (--teacher-activation quick_gelu: OpenAI's CLIP; gelu: LAION's and most others)");
  }
  if (!layer_norm_eps)
    unknown.push_back("the LayerNorm eps (--teacher-eps; CLIP 1e-05, others mostly 1e-06)");
  if (!mean || !std) {
    unknown.push_back(
        "mean and std of the input channels (--teacher-mean 0.485,0.456,0.406 --teacher-std "
        "0.229,0.224,0.225: "
        "ImageNet's; 0.5,0.5,0.5 for both: Google's ViT, timm's augreg, some of LAION's CLIP; "
        "0.48145466,0.4578275,0.40821073 and 0.26862954,0.26130258,0.27577711: other CLIP)");
  }
  if (unknown.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the weights do not tell ", absl::StrJoin(unknown, "; nor "),
      ". Say so, or put the model's config.json (open_clip_config.json, preprocessor_config.json) "
      "beside the weights"));
}

absl::StatusOr<TeacherSettings> SettingsFromOptions(const TeacherOptions& options) {
  TeacherSettings settings;
  if (options.num_heads > 0) settings.heads = options.num_heads;
  if (!options.activation.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(settings.activation, ParseActivation(options.activation));
  }
  if (!options.layer_norm_eps.empty()) {
    auto eps = ParseDecimal(options.layer_norm_eps);
    if (!eps.ok()) return WithContext(eps.status(), "LayerNorm eps");
    settings.layer_norm_eps = *eps;
  }
  if (!options.mean.empty()) {
    auto mean = ParseChannels(options.mean);
    if (!mean.ok()) return WithContext(mean.status(), "mean");
    settings.mean = *mean;
  }
  if (!options.std.empty()) {
    auto std = ParseChannels(options.std);
    if (!std.ok()) return WithContext(std.status(), "std");
    settings.std = *std;
  }
  return settings;
}

absl::StatusOr<TeacherSettings> SettingsBesideWeights(const SafetensorsFile& file, const std::string& family,
                                                      int64_t width) {
  const auto metadata = file.metadata().find(kConfigMetadataKey);
  if (metadata != file.metadata().end()) {
    const Json config = Json::parse(metadata->second, nullptr, /*allow_exceptions=*/false);
    const std::string where = absl::StrCat("metadata ", kConfigMetadataKey);
    if (!config.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": not a JSON object"));
    auto settings = FromOurConfig(config);
    if (!settings.ok()) return WithContext(settings.status(), where);
    return settings;
  }
  const fs::path folder = fs::path(file.path()).parent_path();
  // Repositories of a CLIP often hold both of its forms, each with a file of its own.
  std::vector<std::string> names = {"config.json", "open_clip_config.json"};
  if (family == "open_clip") std::swap(names[0], names[1]);
  TeacherSettings settings;
  for (const std::string& name : names) {
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const std::optional<TeacherSettings> read,
        ReadBeside(folder / name, [width](const std::string& text) { return FromConfigText(text, width); }));
    if (!read) continue;
    settings = *read;
    break;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::optional<TeacherSettings> pixels,
                              ReadBeside(folder / "preprocessor_config.json", FromPreprocessorText));
  if (pixels) settings.FillFrom(*pixels);
  return settings;
}

}  // namespace afterimage
