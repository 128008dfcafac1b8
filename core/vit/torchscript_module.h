// A TorchScript archive as a function of pixels: the only file of the project that knows torch::jit.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/digest.h"

namespace afterimage {

// What a module returned: a dictionary of tensors, or a tensor, tuple or list, which has no names.
struct TorchScriptOutput {
  std::map<std::string, at::Tensor> named;
  std::vector<at::Tensor> ordered;
  bool is_dictionary = false;
};

// Forward may be called from one thread at a time.
class TorchScriptModule {
 public:
  // In evaluation mode, on `device`. NotFound: no such file. InvalidArgument: a PyTorch checkpoint instead of
  // TorchScript (the remedy is told), an operator that this LibTorch does not have. DataLoss: neither. The
  // format's checksums are not looked at: a weight that was damaged shows in the digest.
  static absl::StatusOr<std::unique_ptr<TorchScriptModule>> Load(const std::string& path, at::Device device);

  // Runs the module without gradients, each operator as it stands: without the optimisations whose results
  // change after the first calls. InvalidArgument: the module raised an error (its text is told), or returned
  // something else than tensors.
  absl::StatusOr<TorchScriptOutput> Forward(const at::Tensor& pixels);

  // SHA-256 over name and content of the archive's entries in name order: the same after the file was renamed
  // or packed again. Without debugging information, which holds paths and line numbers of whoever wrote it.
  const Digest256& content_digest() const { return digest_; }

  ~TorchScriptModule();

 private:
  struct State;
  TorchScriptModule(std::unique_ptr<State> state, Digest256 digest);
  const std::unique_ptr<State> state_;
  const Digest256 digest_;
};

}  // namespace afterimage
