// Golden files of tests/golden: named tensors with the tolerances that their JSON states.
#pragma once

#include <ATen/ATen.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "core/tensors/safetensors.h"
#include "core/vit/teacher_runner.h"
#include "core/vit/teacher_settings.h"
#include "core/vit/tensor_file.h"
#include "gtest/gtest.h"

namespace afterimage::testing {

class GoldenFile {
 public:
  explicit GoldenFile(const std::string& name)
      : path_(std::string(AFTERIMAGE_SOURCE_DIR "/tests/golden/") + name) {
    auto file = SafetensorsFile::Open(path_ + ".safetensors");
    if (!file.ok()) throw std::runtime_error(file.status().ToString());
    file_ = *std::move(file);
    std::ifstream(path_ + ".json") >> json_;
  }

  const SafetensorsFile& file() const { return *file_; }
  std::string weights_path() const { return path_ + ".safetensors"; }
  const nlohmann::json& config() const { return json_["config"]; }
  bool Has(const std::string& name) const { return file_->tensors().contains(name); }
  at::Tensor Tensor(const std::string& name, at::ScalarType type) const {
    return ToTensor(file_->tensors().at(name), type);
  }
  double atol(const std::string& name) const { return json_["tensors"][name].at("atol").get<double>(); }

  // What the flags would say: what no file tells.
  TeacherOptions Options() const {
    TeacherOptions options;
    options.weights = weights_path();
    options.num_heads = config()["num_heads"];
    const std::string family = config()["family"];
    if (family == "dino_original") options.family = family;
    if (family == "open_clip") options.activation = config()["quick_gelu"] ? "quick_gelu" : "gelu";
    if (family == "hf_clip") options.activation = "quick_gelu";
    if (family == "timm_vit" || family.starts_with("hf_vit")) {
      options.mean = ChannelText("preprocess_mean");
      options.std = ChannelText("preprocess_std");
    }
    return options;
  }

 private:
  std::string ChannelText(const char* key) const {
    std::string text;
    for (const auto& value : config()[key]) {
      if (!text.empty()) text += ',';
      text += value.dump();
    }
    return text;
  }

  const std::string path_;
  std::shared_ptr<const SafetensorsFile> file_;
  nlohmann::json json_;
};

// The frozen teacher that a MaskAlign step carries, as a file of its own: its path.
inline std::string WriteTeacherOfStep(const GoldenFile& golden, const std::string& folder) {
  const std::string prefix = "clip_model.";
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, view] : golden.file().tensors()) {
    if (name.starts_with(prefix)) tensors[name.substr(prefix.size())] = view;
  }
  const std::string path = folder + "/teacher.safetensors";
  // OpenAI's CLIP.
  EXPECT_TRUE(WriteSafetensors(path, tensors, {{kConfigMetadataKey, R"({"activation":"quick_gelu"})"}}).ok());
  return path;
}

inline double LargestDifference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace afterimage::testing
