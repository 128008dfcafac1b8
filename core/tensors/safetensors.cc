#include "core/tensors/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/tensors/safetensors_format.h"

namespace afterimage {
namespace {

using nlohmann::json;
using safetensors::ByteCount;
using safetensors::kLengthBytes;
using safetensors::kMaxHeaderBytes;
using safetensors::kMetadataKey;
using safetensors::ParseObject;
using safetensors::ParseType;
using safetensors::ShapeText;

// The header is {tensor: {field: [numbers]}}: nothing valid is nested deeper.
constexpr int kMaxDepth = 4;
// Of a shape; far above what any network has, far below what a hostile header would.
constexpr size_t kMaxDimensions = 32;

absl::StatusOr<std::map<std::string, std::string>> ParseMetadata(const json& entries) {
  if (!entries.is_object()) return absl::DataLossError("__metadata__ is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entries.items()) {
    if (!value.is_string())
      return absl::DataLossError(absl::StrCat("metadata \"", key, "\" is not a string"));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

struct Placed {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string name;
};

// One entry of the header, checked against the `data` part of the file.
absl::StatusOr<TensorView> ParseTensor(const json& entry, ByteSpan data, uint64_t& begin, uint64_t& end) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    return absl::DataLossError("is not described by dtype, shape and data_offsets");
  }
  const json& dtype = entry["dtype"];
  const json& shape = entry["shape"];
  const json& offsets = entry["data_offsets"];
  if (!dtype.is_string()) return absl::DataLossError("dtype is not a string");
  TensorView view;
  AFTERIMAGE_ASSIGN_OR_RETURN(view.type, ParseType(dtype.get<std::string>()));
  if (!shape.is_array()) return absl::DataLossError("shape is not a list");
  if (shape.size() > kMaxDimensions) {
    return absl::DataLossError(
        absl::StrCat("shape has ", shape.size(), " dimensions, at most ", kMaxDimensions, " are read"));
  }
  for (const json& extent : shape) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX) {
      return absl::DataLossError("shape holds something other than a size");
    }
    view.shape.push_back(extent.get<int64_t>());
  }
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return absl::DataLossError("data_offsets is not a pair of offsets");
  }
  begin = offsets[0].get<uint64_t>();
  end = offsets[1].get<uint64_t>();
  if (begin > end || end > data.size()) {
    return absl::DataLossError(
        absl::StrCat("bytes ", begin, " to ", end, " leave the file's ", data.size(), " data bytes"));
  }
  const std::optional<uint64_t> wanted = ByteCount(view.shape, view.type);
  if (!wanted || *wanted != end - begin) {
    return absl::DataLossError(absl::StrCat(TensorTypeName(view.type), " ", ShapeText(view.shape),
                                            " does not fit its ", end - begin, " bytes"));
  }
  view.data = data.subspan(begin, end - begin);
  return view;
}

// The format allows neither overlaps nor holes.
absl::Status CheckCoverage(std::vector<Placed> placed, uint64_t data_bytes) {
  std::sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (const Placed& tensor : placed) {
    if (tensor.begin != covered) {
      return absl::DataLossError(absl::StrCat(
          "tensor \"", tensor.name, "\" begins at byte ", tensor.begin,
          tensor.begin < covered ? " inside the one before, which ends at " : " and leaves a hole after ",
          covered));
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    return absl::DataLossError(absl::StrCat("the tensors end at byte ", covered, " of ", data_bytes,
                                            " data bytes: cut short or padded"));
  }
  return absl::OkStatus();
}

// The content of a file, unmapped with its last owner.
absl::StatusOr<PinnedBytes> MapFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  const absl::Cleanup close_file = [fd] { close(fd); };
  struct stat information;
  if (fstat(fd, &information) != 0) return ErrnoStatus(errno, "stat", path);
  if (!S_ISREG(information.st_mode)) return absl::DataLossError(absl::StrCat(path, ": not a regular file"));
  const auto num_bytes = static_cast<size_t>(information.st_size);
  if (num_bytes == 0) return PinnedBytes{};  // which cannot be mapped
  void* const mapping = mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapping == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  return PinnedBytes{{static_cast<const uint8_t*>(mapping), num_bytes},
                     std::shared_ptr<const void>(mapping, [num_bytes](const void* address) {
                       munmap(const_cast<void*>(address), num_bytes);
                     })};
}

template <typename T>
void UpdateNumber(Sha256Stream& stream, T value) {
  stream.Update({reinterpret_cast<const uint8_t*>(&value), sizeof(value)});
}

void UpdateText(Sha256Stream& stream, const std::string& text) {
  UpdateNumber(stream, static_cast<uint64_t>(text.size()));
  stream.Update(AsBytes(text));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  auto content = MapFile(path);
  AFTERIMAGE_RETURN_IF_ERROR(content.status());
  return Parse(*std::move(content), path);
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Parse(PinnedBytes content,
                                                                              const std::string& path) {
  const ByteSpan bytes = content.bytes;
  if (bytes.size() < kLengthBytes) {
    return absl::DataLossError(absl::StrCat(path, ": ", bytes.size(), " bytes are no safetensors file"));
  }
  const uint64_t header_bytes = LoadLittleEndian<uint64_t>(bytes.data());
  if (header_bytes > std::min<uint64_t>(kMaxHeaderBytes, bytes.size() - kLengthBytes)) {
    constexpr uint8_t kZip[] = {'P', 'K', 3, 4};
    constexpr uint8_t kPickle[] = {0x80, 2};
    if (std::ranges::equal(bytes.first(sizeof(kZip)), kZip) ||
        std::ranges::equal(bytes.first(sizeof(kPickle)), kPickle)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": a file of PyTorch's own, not safetensors: convert it (docs/teachers.md has the command)"));
    }
    return absl::DataLossError(absl::StrCat(path, ": a header of ", header_bytes,
                                            " bytes does not fit a file of ", bytes.size(),
                                            " (or the format's bound of ", kMaxHeaderBytes, ")"));
  }
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, header_bytes);
  const ByteSpan data = bytes.subspan(kLengthBytes + header_bytes);
  absl::StatusOr<json> header = ParseObject(text, kMaxDepth);
  if (!header.ok()) return WithContext(header.status(), absl::StrCat(path, ": the header"));

  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path;
  file->owners_ = {std::move(content.owner)};
  std::vector<Placed> placed;
  for (const auto& [name, entry] : header->items()) {
    if (name == kMetadataKey) {
      auto metadata = ParseMetadata(entry);
      if (!metadata.ok()) return WithContext(metadata.status(), path);
      file->metadata_ = *std::move(metadata);
      continue;
    }
    Placed place{.name = name};
    absl::StatusOr<TensorView> view = ParseTensor(entry, data, place.begin, place.end);
    if (!view.ok()) return WithContext(view.status(), absl::StrCat(path, ": tensor \"", name, "\""));
    file->tensors_[name] = *std::move(view);
    placed.push_back(std::move(place));
  }
  if (absl::Status covered = CheckCoverage(std::move(placed), data.size()); !covered.ok()) {
    return WithContext(covered, path);
  }
  return file;
}

Digest256 SafetensorsFile::ContentDigest(const std::vector<std::string>& exclude_prefixes) const {
  Sha256Stream stream;
  const auto is_excluded = [&exclude_prefixes](const std::string& name) {
    return std::any_of(exclude_prefixes.begin(), exclude_prefixes.end(),
                       [&name](const std::string& prefix) { return name.starts_with(prefix); });
  };
  for (const auto& [name, view] : tensors_) {
    if (is_excluded(name)) continue;
    UpdateText(stream, name);
    UpdateText(stream, TensorTypeName(view.type));
    UpdateNumber(stream, static_cast<uint64_t>(view.shape.size()));
    for (const int64_t extent : view.shape) UpdateNumber(stream, extent);
    UpdateNumber(stream, static_cast<uint64_t>(view.data.size()));
    stream.Update(view.data);
  }
  return stream.Finish();
}

}  // namespace afterimage
