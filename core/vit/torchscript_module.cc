#include "core/vit/torchscript_module.h"

#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/ivalue.h>
#include <c10/core/InferenceMode.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage {
namespace {

constexpr char kConversion[] =
    "a PyTorch checkpoint (a pickle, which may run code when it is read), not TorchScript: convert its "
    "weights to "
    ".safetensors, or save the module by torch.jit.trace; docs/teachers.md has both commands";

// What the first bytes say.
absl::Status CheckKind(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("no such file: ", path));
  }
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, sizeof(magic));
  if (file.gcount() >= 2 && magic[0] == '\x80') return absl::InvalidArgumentError(kConversion);
  if (file.gcount() != sizeof(magic) || std::string(magic, 2) != "PK") {
    return absl::DataLossError("not a TorchScript archive");
  }
  return absl::OkStatus();
}

bool IsMeaningful(const std::string& name) {
  return !name.ends_with(".debug_pkl") && name != ".data/serialization_id";
}

// Throws where the archive is damaged.
Digest256 DigestOf(caffe2::serialize::PyTorchStreamReader& reader) {
  std::vector<std::string> names = reader.getAllRecords();
  std::sort(names.begin(), names.end());
  Sha256Stream stream;
  const auto update_size = [&stream](uint64_t size) {
    stream.Update({reinterpret_cast<const uint8_t*>(&size), sizeof(size)});
  };
  for (const std::string& name : names) {
    if (!IsMeaningful(name)) continue;
    const auto [content, num_bytes] = reader.getRecord(name);
    update_size(name.size());
    stream.Update(AsBytes(name));
    update_size(num_bytes);
    stream.Update({static_cast<const uint8_t*>(content.get()), num_bytes});
  }
  return stream.Finish();
}

// The last lines of LibTorch's texts say what went wrong; before them stands the module's code.
std::string ShortText(const std::exception& error) {
  const auto* const c10_error = dynamic_cast<const c10::Error*>(&error);
  std::string text = c10_error != nullptr ? c10_error->what_without_backtrace() : error.what();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

absl::Status NoTensor(const std::string& where, const c10::IValue& value) {
  return absl::InvalidArgumentError(
      absl::StrCat("the module returned ", where, " of type ", value.tagKind(), ", not a tensor"));
}

absl::StatusOr<TorchScriptOutput> ToOutput(const c10::IValue& value) {
  TorchScriptOutput output;
  if (value.isTensor()) {
    output.ordered.push_back(value.toTensor());
  } else if (value.isGenericDict()) {
    output.is_dictionary = true;
    for (const auto& entry : value.toGenericDict()) {
      if (!entry.key().isString()) return NoTensor("a key", entry.key());
      const std::string& name = entry.key().toStringRef();
      if (!entry.value().isTensor()) return NoTensor(absl::StrCat("\"", name, "\""), entry.value());
      output.named[name] = entry.value().toTensor();
    }
  } else if (value.isTuple() || value.isList()) {
    std::vector<c10::IValue> elements;
    if (value.isTuple()) {
      const auto tuple = value.toTuple();
      elements.assign(tuple->elements().begin(), tuple->elements().end());
    } else {
      for (const c10::IValue& element : value.toListRef()) elements.push_back(element);
    }
    for (size_t i = 0; i < elements.size(); ++i) {
      if (!elements[i].isTensor()) return NoTensor(absl::StrCat("element ", i), elements[i]);
      output.ordered.push_back(elements[i].toTensor());
    }
  } else {
    return NoTensor("a value", value);
  }
  return output;
}

}  // namespace

struct TorchScriptModule::State {
  torch::jit::Module module;
};

TorchScriptModule::TorchScriptModule(std::unique_ptr<State> state, Digest256 digest)
    : state_(std::move(state)), digest_(digest) {}
TorchScriptModule::~TorchScriptModule() = default;

absl::StatusOr<std::unique_ptr<TorchScriptModule>> TorchScriptModule::Load(const std::string& path,
                                                                           at::Device device) {
  if (absl::Status kind = CheckKind(path); !kind.ok()) return WithContext(kind, path);
  Digest256 digest;
  try {
    caffe2::serialize::PyTorchStreamReader reader(path);
    if (!reader.hasRecord("constants.pkl")) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", kConversion));
    }
    digest = DigestOf(reader);
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat(path, ": damaged archive: ", ShortText(error)));
  }
  try {
    auto state = std::make_unique<State>();
    state->module = torch::jit::load(path, device);
    state->module.eval();
    return std::unique_ptr<TorchScriptModule>(new TorchScriptModule(std::move(state), digest));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": this LibTorch cannot load the module: ", ShortText(error)));
  }
}

absl::StatusOr<TorchScriptOutput> TorchScriptModule::Forward(const at::Tensor& pixels) {
  const c10::InferenceMode inference;
  const torch::jit::GraphOptimizerEnabledGuard as_it_stands(false);
  try {
    return ToOutput(state_->module.forward({pixels}));
  } catch (const std::bad_alloc&) {
    return StatusOfCurrentException();
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("the module failed: ", ShortText(error)));
  }
}

}  // namespace afterimage
