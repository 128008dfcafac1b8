// Whatever bytes come as a safetensors file or as the index of a sharded checkpoint: they are refused, or
// every tensor lies within them and has the size of its shape.
//
// Built with -fsanitize=fuzzer this is a libFuzzer target; linked with replay_main.cc it is a fast test.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/tensors/safetensors.h"
#include "core/tensors/safetensors_format.h"
#include "tests/fuzz/fuzz_target.h"

namespace afterimage {
namespace {

std::string Framed(const std::string& header, size_t num_data_bytes) {
  std::string bytes;
  AppendLittleEndian(static_cast<uint64_t>(header.size()), bytes);
  return bytes + header + std::string(num_data_bytes, '\x3f');
}

void CheckFile(ByteSpan bytes) {
  const auto file = SafetensorsFile::Parse({bytes, nullptr}, "input");
  if (!file.ok()) return;
  size_t total = 0;
  unsigned sum = 0;
  for (const auto& [name, view] : (*file)->tensors()) {
    if (safetensors::ByteCount(view.shape, view.type) != view.data.size()) std::abort();
    for (const uint8_t byte : view.data) sum += byte;  // every byte can be read
    total += view.data.size();
  }
  if (total > bytes.size()) std::abort();  // no byte is in two tensors
  if ((*file)->ContentDigest({std::to_string(sum)}).IsZero()) std::abort();
}

void CheckIndex(ByteSpan bytes) {
  const auto index =
      safetensors::ParseIndex(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  if (!index.ok()) return;
  for (const auto& [name, shard] : *index) {
    if (shard.empty() || shard.find('/') != std::string::npos) std::abort();  // would leave the folder
  }
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  return {
      Framed("{}", 0),
      Framed(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
      Framed(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
             R"("b":{"dtype":"U8","shape":[0,7],"data_offsets":[4,4]},)"
             R"("c":{"dtype":"I64","shape":[],"data_offsets":[4,12]}})",
             12),
      R"({"metadata":{"total_size":4},"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})",
  };
}

// The length of the header: up to the last brace, so that a mutated header is read as one.
void ResealForFuzzing(std::string& input) {
  const size_t brace = input.rfind('}');
  if (brace == std::string::npos || brace < safetensors::kLengthBytes) return;
  const uint64_t header_bytes = brace + 1 - safetensors::kLengthBytes;
  std::memcpy(input.data(), &header_bytes, sizeof(header_bytes));
}

}  // namespace afterimage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  afterimage::CheckFile({data, size});
  afterimage::CheckIndex({data, size});
  return 0;
}
