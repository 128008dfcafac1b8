#include "core/vit/torchscript_description.h"

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr char kExample[] =
    R"({"size": 224, "grid": 14, "levels": ["map"], "class_token": false, "mean": [0.485, 0.456, 0.406], )"
    R"("std": [0.229, 0.224, 0.225]})";

absl::StatusOr<bool> Flag(const Json& description, const char* key) {
  const auto found = description.find(key);
  if (found == description.end() || !found->is_boolean()) {
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing or neither true nor false"));
  }
  return found->get<bool>();
}

absl::StatusOr<ChannelValues> ChannelsField(const Json& description, const char* key) {
  const auto found = description.find(key);
  if (found == description.end()) return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is missing"));
  absl::StatusOr<ChannelValues> values = ParseChannelValues(*found);
  if (!values.ok()) return WithContext(values.status(), key);
  return values;
}

absl::StatusOr<std::vector<std::string>> LevelNames(const Json& description) {
  const auto found = description.find("levels");
  if (found == description.end() || !found->is_array() || found->empty()) {
    return absl::InvalidArgumentError("\"levels\" is missing or no list of names");
  }
  std::vector<std::string> names;
  for (const Json& name : *found) {
    if (!name.is_string() || name.get<std::string>().empty()) {
      return absl::InvalidArgumentError(absl::StrCat("\"levels\" holds no name: ", name.dump()));
    }
    names.push_back(name.get<std::string>());
  }
  if (std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
    return absl::InvalidArgumentError("\"levels\" holds a name twice");
  }
  return names;
}

absl::StatusOr<TorchScriptDescription> Parse(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  AFTERIMAGE_RETURN_IF_ERROR(
      RefuseUnknownKeys(json, {"class_token", "grid", "importance", "levels", "mean", "size", "std"}));
  TorchScriptDescription description;
  AFTERIMAGE_ASSIGN_OR_RETURN(description.size, IntegerField(json, "size"));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.grid, IntegerField(json, "grid"));
  constexpr int64_t kMaxSize = 65535, kMaxGrid = 255;  // tokens are numbered in 16 bits
  if (description.size < 1 || description.size > kMaxSize || description.grid < 1 ||
      description.grid > kMaxGrid || description.size % description.grid != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a grid of ", description.grid, " does not divide a size of ", description.size,
                     ", or one of them is out of range (at most ", kMaxGrid, " and ", kMaxSize, ")"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(description.levels, LevelNames(json));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.class_token, Flag(json, "class_token"));
  if (json.contains("importance")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(description.importance, Flag(json, "importance"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(description.mean, ChannelsField(json, "mean"));
  AFTERIMAGE_ASSIGN_OR_RETURN(description.std, ChannelsField(json, "std"));
  for (const double deviation : description.std) {
    if (!(deviation > 0)) return absl::InvalidArgumentError("\"std\" holds a value that is not above 0");
  }
  return description;
}

}  // namespace

std::string TorchScriptDescriptionPath(const std::string& module_path) {
  return std::filesystem::path(module_path).replace_extension(".json").string();
}

absl::StatusOr<TorchScriptDescription> ReadTorchScriptDescription(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat(path, ": a TorchScript teacher needs this description beside it, such as ", kExample,
                     "; docs/teachers.md says what its keys mean"));
  }
  AFTERIMAGE_RETURN_IF_ERROR(text.status());
  absl::StatusOr<TorchScriptDescription> description = Parse(*text);
  if (!description.ok()) return WithContext(description.status(), path);
  return description;
}

}  // namespace afterimage
