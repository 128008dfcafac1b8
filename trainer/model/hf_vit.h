// A network in the layout of Hugging Face's ViT classes.
#pragma once

#include "absl/status/statusor.h"
#include "core/identity/canonical_spec.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

// What `from_pretrained` finds in a folder: the tensors of model.safetensors under the names of
// transformers' ViTModel (or, where there is a "head.*", of ViTForImageClassification), the joined
// projection split into query, key and value; config.json; preprocessor_config.json.
struct HfVit {
  ParameterMap tensors;
  Json config;
  Json preprocessor;
};

// Tensors are shared or views. InvalidArgument: what those classes do not have (a LayerNorm before block 1,
// LayerScale, registers, a gated MLP, a patch embedding without bias, a head behind mean pooling).
absl::StatusOr<HfVit> ToHfVit(const VitWeights& weights);

}  // namespace afterimage::trainer
