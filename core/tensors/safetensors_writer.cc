#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors.h"
#include "core/tensors/safetensors_format.h"

namespace afterimage {
namespace {

using nlohmann::json;
using safetensors::ByteCount;
using safetensors::kLengthBytes;
using safetensors::kMaxHeaderBytes;
using safetensors::kMetadataKey;
using safetensors::ShapeText;

absl::Status WriteAll(int fd, ByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "write", path);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteParts(const std::string& path, const std::vector<ByteSpan>& parts) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoStatus(errno, "create", path);
  absl::Status status;
  for (const ByteSpan part : parts) {
    if (status.ok()) status = WriteAll(fd, part, path);
  }
  if (status.ok() && fsync(fd) != 0) status = ErrnoStatus(errno, "sync", path);
  if (close(fd) != 0 && status.ok()) status = ErrnoStatus(errno, "close", path);
  return status;
}

}  // namespace

absl::Status WriteSafetensors(const std::string& path, const std::map<std::string, TensorView>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  // The widest types first: every tensor is then aligned, as readers that map the file expect.
  std::vector<std::map<std::string, TensorView>::const_iterator> order;
  for (auto it = tensors.begin(); it != tensors.end(); ++it) {
    const auto& [name, view] = *it;
    if (name == kMetadataKey)
      return absl::InvalidArgumentError(absl::StrCat(path, ": a tensor named ", name));
    const std::optional<uint64_t> wanted = ByteCount(view.shape, view.type);
    if (!wanted || *wanted != view.data.size()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", name, "\" of shape ",
                                                     ShapeText(view.shape), " has ", view.data.size(),
                                                     " bytes"));
    }
    order.push_back(it);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return TensorTypeBytes(a->second.type) > TensorTypeBytes(b->second.type);
  });

  json header = json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  std::vector<ByteSpan> parts(2);
  for (const auto& it : order) {
    const uint64_t end = offset + it->second.data.size();
    header[it->first] = {{"dtype", TensorTypeName(it->second.type)},
                         {"shape", it->second.shape},
                         {"data_offsets", {offset, end}}};
    offset = end;
    parts.push_back(it->second.data);
  }
  std::string text = header.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  if (text.size() > kMaxHeaderBytes)
    return absl::InvalidArgumentError(absl::StrCat(path, ": too many tensors"));
  std::string length;
  AppendLittleEndian(static_cast<uint64_t>(text.size()), length);
  parts[0] = AsBytes(length);
  parts[1] = AsBytes(text);

  const std::string beside = absl::StrCat(path, ".", getpid(), ".tmp");
  absl::Status status = WriteParts(beside, parts);
  if (status.ok() && rename(beside.c_str(), path.c_str()) != 0)
    status = ErrnoStatus(errno, "rename to", path);
  if (!status.ok()) {
    unlink(beside.c_str());
    return status;
  }
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return SyncDirectory(folder.empty() ? "." : folder);
}

}  // namespace afterimage
