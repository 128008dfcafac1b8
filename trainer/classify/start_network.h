// The network that a fine-tuning or a probe starts from.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/vit/teacher_runner.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer {

struct StartNetworkOptions {
  // `network.weights`: a checkpoint of ours or the folder of its run, an exported network, or any vision
  // transformer whose family TeacherRunner knows, with what flags say about one; `network.image_size`: side
  // of the views, 0 = the network's own.
  TeacherOptions network;
  bool average = false;  // of a checkpoint: the moving average of its weights
};

struct StartNetwork {
  VitWeights weights;  // with "norm.*", without a head; positions as the image size asks for
  std::string digest;  // of the file's tensors
  std::string source;  // for people
};

// NotFound: no such file. InvalidArgument: a missing, extra or wrongly shaped tensor (named, both shapes
// told), an unknown family, heads unknown, an image size that the patches do not divide, a TorchScript module
// (which has no weights to train), flags about a network that a checkpoint already describes.
absl::StatusOr<StartNetwork> LoadStartNetwork(const StartNetworkOptions& options);

}  // namespace afterimage::trainer
