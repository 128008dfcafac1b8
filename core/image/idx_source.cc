#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decode.h"
#include "core/image/gzip_reader.h"
#include "core/image/random_access_file.h"
#include "core/image/sources.h"

namespace afterimage::image_internal {
namespace {

namespace fs = std::filesystem;

// The idx format of the MNIST site: 0, 0, type, number of dimensions, then each dimension as a big-endian
// u32.
constexpr char kLabelsMagic[] = {0, 0, 8, 1};  // 8 = unsigned bytes
constexpr char kGreyMagic[] = {0, 0, 8, 3};
constexpr char kColorMagic[] = {0, 0, 8, 4};
constexpr size_t kMagicBytes = 4;

constexpr uint64_t kPieceBytes = 1 << 20;  // of unpacking

bool HasMagic(const std::string& bytes, const char (&magic)[kMagicBytes]) {
  return absl::StartsWith(bytes, absl::string_view(magic, kMagicBytes));
}

absl::StatusOr<std::string> MagicOf(const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto reader, GzipReader::Open(path));
  return reader->Read(kMagicBytes);
}

struct IdxHeader {
  uint64_t num_images = 0;
  uint32_t height = 0;
  uint32_t width = 0;
  uint32_t channels = 1;
  uint64_t length_bytes = 0;  // of the header itself

  uint64_t ImageBytes() const { return uint64_t{height} * width * channels; }
};

absl::StatusOr<uint32_t> ReadBigEndian(GzipReader& reader) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string bytes, reader.Read(4));
  uint32_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

absl::StatusOr<IdxHeader> ReadHeader(GzipReader& reader, const std::string& path) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string magic, reader.Read(kMagicBytes));
  const bool is_color = HasMagic(magic, kColorMagic);
  if (!is_color && !HasMagic(magic, kGreyMagic)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no idx file of images"));
  }
  IdxHeader header;
  AFTERIMAGE_ASSIGN_OR_RETURN(header.num_images, ReadBigEndian(reader));
  AFTERIMAGE_ASSIGN_OR_RETURN(header.height, ReadBigEndian(reader));
  AFTERIMAGE_ASSIGN_OR_RETURN(header.width, ReadBigEndian(reader));
  if (is_color) {
    AFTERIMAGE_ASSIGN_OR_RETURN(header.channels, ReadBigEndian(reader));
  }
  header.length_bytes = is_color ? 20 : 16;  // magic and four or three dimensions
  if (header.num_images == 0) return absl::InvalidArgumentError(absl::StrCat(path, " has no images"));
  if (header.width == 0 || header.height == 0 || header.width > kMaxImageSide ||
      header.height > kMaxImageSide || uint64_t{header.width} * header.height > kMaxImagePixels ||
      (is_color && header.channels != 3)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has images of ", header.width, " x ", header.height, " x ", header.channels,
                     ": grey or three channels, at most ", kMaxImageSide, " a side, are supported"));
  }
  return header;
}

// The labels file beside an images file: train-images-idx3-ubyte.gz -> train-labels-idx1-ubyte, with or
// without ".gz". Empty where there is none.
std::string FindLabelsFile(const std::string& images_path) {
  const fs::path path(images_path);
  std::string name = path.filename().string();
  const size_t images = name.rfind("images");
  if (images == std::string::npos) return "";
  name.replace(images, 6, "labels");
  for (const char* dimensions : {"idx3", "idx4"}) {
    const size_t position = name.rfind(dimensions);
    if (position != std::string::npos) name.replace(position, 4, "idx1");
  }
  const bool packed = absl::EndsWith(name, ".gz");
  const std::string other = packed ? name.substr(0, name.size() - 3) : name + ".gz";
  for (const std::string& candidate : {name, other}) {
    std::error_code error;
    if (fs::exists(path.parent_path() / candidate, error)) return (path.parent_path() / candidate).string();
  }
  return "";
}

absl::StatusOr<std::string> ReadLabels(const std::string& path, uint64_t num_images) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto reader, GzipReader::Open(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string magic, reader->Read(kMagicBytes));
  if (!HasMagic(magic, kLabelsMagic)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is no idx file of labels (one unsigned byte each)"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const uint32_t num_labels, ReadBigEndian(*reader));
  if (num_labels != num_images) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", num_labels, " labels for ", num_images,
                                                   " images: they do not belong together"));
  }
  return reader->Read(num_labels);
}

// Names are numbers: nothing is kept per image but its label.
class IdxSource : public ImageSource {
 public:
  // The images are in `file` from `offset` on. `labels`: a byte for each, or empty.
  IdxSource(const std::string& path, IdxHeader header, uint64_t num_images, std::string labels,
            std::vector<std::string> class_names, std::unique_ptr<RandomAccessFile> file, uint64_t offset)
      : path_(path),
        file_name_(fs::path(path).filename().string()),
        header_(header),
        num_images_(num_images),
        labels_(std::move(labels)),
        class_names_(std::move(class_names)),
        file_(std::move(file)),
        offset_(offset),
        // Part of the image key of every idx picture: frozen.
        prefix_(absl::StrCat(header.channels == 3 ? "P6\n" : "P5\n", header.width, " ", header.height,
                             "\n255\n")) {}

  size_t size() const override { return num_images_; }
  ImageEntry entry(size_t index) const override {
    ImageEntry entry{absl::StrCat(file_name_, "#", index), std::nullopt};
    if (!labels_.empty()) entry.label = static_cast<uint8_t>(labels_[index]);
    return entry;
  }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string Description() const override {
    return Describe("idx file " + path_, size(), class_names_.size());
  }

  absl::StatusOr<std::string> Read(size_t index) const override {
    const uint64_t image_bytes = header_.ImageBytes();
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string pixels,
                                file_->ReadAt(offset_ + index * image_bytes, image_bytes));
    return absl::StrCat(prefix_, pixels);
  }

 private:
  const std::string path_;
  const std::string file_name_;
  const IdxHeader header_;
  const uint64_t num_images_;
  const std::string labels_;
  const std::vector<std::string> class_names_;
  const std::unique_ptr<RandomAccessFile> file_;
  const uint64_t offset_;
  const std::string prefix_;
};

// Checks that a plain file is as long as its header says.
absl::Status CheckLength(const RandomAccessFile& file, const IdxHeader& header) {
  const uint64_t available = file.size_bytes() - header.length_bytes;
  const uint64_t held =
      available / header.ImageBytes();  // divides, so that damaged dimensions cannot overflow
  if (held < header.num_images) {
    return absl::DataLossError(absl::StrCat(file.path(), " is cut short at offset ", file.size_bytes(),
                                            ": its header says ", header.num_images, " images, it holds ",
                                            held));
  }
  if (available != header.num_images * header.ImageBytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.path(), " is longer than the ", header.num_images, " images that its header says"));
  }
  return absl::OkStatus();
}

// Unpacks the first `num_images` into a temporary file; all of them must be followed by the end.
absl::StatusOr<std::unique_ptr<RandomAccessFile>> Unpack(GzipReader& reader, const std::string& path,
                                                         const IdxHeader& header, uint64_t num_images) {
  uint64_t images_left = num_images;
  const uint64_t images_per_piece = std::max<uint64_t>(1, kPieceBytes / header.ImageBytes());
  const auto next_piece = [&]() -> absl::StatusOr<std::string> {
    const uint64_t images = std::min(images_left, images_per_piece);
    images_left -= images;
    return reader.Read(images * header.ImageBytes());
  };
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<RandomAccessFile> content,
                              RandomAccessFile::WriteTemporary(path, next_piece));
  if (num_images == header.num_images) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const bool at_end, reader.AtEnd());
    if (!at_end) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is longer than the ", header.num_images, " images that its header says"));
    }
  }
  return content;
}

}  // namespace

bool LooksLikeIdxImages(const std::string& path) {
  const absl::StatusOr<std::string> magic = MagicOf(path);
  if (magic.ok()) return HasMagic(*magic, kGreyMagic) || HasMagic(*magic, kColorMagic);
  // A damaged gzip file may not even give its first bytes: go by the name, so that opening it says what is
  // wrong.
  const std::string name = fs::path(path).filename().string();
  return absl::IsDataLoss(magic.status()) && absl::EndsWith(name, ".gz") &&
         (absl::StrContains(name, "idx3") || absl::StrContains(name, "idx4"));
}

bool LooksLikeIdxLabels(const std::string& path) {
  return HasMagic(MagicOf(path).value_or(""), kLabelsMagic);
}

absl::StatusOr<std::unique_ptr<ImageSource>> OpenIdxSource(const std::string& path, size_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto reader, GzipReader::Open(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const IdxHeader header, ReadHeader(*reader, path));
  AFTERIMAGE_ASSIGN_OR_RETURN(auto file, RandomAccessFile::Open(path));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string head, file->ReadAt(0, kMagicBytes));
  const uint64_t num_images = limit > 0 ? std::min<uint64_t>(limit, header.num_images) : header.num_images;
  uint64_t offset = header.length_bytes;
  if (absl::StartsWith(head, "\x1f\x8b")) {
    AFTERIMAGE_ASSIGN_OR_RETURN(file, Unpack(*reader, path, header, num_images));
    offset = 0;
  } else {
    AFTERIMAGE_RETURN_IF_ERROR(CheckLength(*file, header));
  }

  std::string labels;
  std::vector<std::string> class_names;
  if (const std::string labels_path = FindLabelsFile(path); !labels_path.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(labels, ReadLabels(labels_path, header.num_images));
    uint8_t largest = 0;
    for (const char label : labels) largest = std::max(largest, static_cast<uint8_t>(label));
    for (int label = 0; label <= largest; ++label) class_names.push_back(absl::StrCat(label));
  }
  return std::make_unique<IdxSource>(path, header, num_images, std::move(labels), std::move(class_names),
                                     std::move(file), offset);
}

}  // namespace afterimage::image_internal
