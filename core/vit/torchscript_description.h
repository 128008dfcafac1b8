// The JSON file beside a TorchScript teacher: what the archive does not tell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/vit/teacher_settings.h"

namespace afterimage {

// {"size": 224, "grid": 14, "levels": ["features.3", …], "class_token": false, "importance": false,
//  "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
struct TorchScriptDescription {
  int64_t size = 0;  // side of the input, pixels
  int64_t grid = 0;  // patches per side of every level; divides the size
  std::vector<std::string>
      levels;                // names, the first level first; the keys where the module returns a dictionary
  bool class_token = false;  // row 0 of every level is a class token
  bool importance = false;   // the module returns it; optional in the file
  ChannelValues mean{};
  ChannelValues std{};
};

// Beside "x.pt": "x.json".
std::string TorchScriptDescriptionPath(const std::string& module_path);

// NotFound with an example; InvalidArgument names a key that is unknown, missing or out of range.
absl::StatusOr<TorchScriptDescription> ReadTorchScriptDescription(const std::string& path);

}  // namespace afterimage
