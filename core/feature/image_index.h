// An image source with identities: its manifest, and where each key lies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/feature/manifest.h"
#include "core/identity/image_key.h"
#include "core/image/image_source.h"
#include "core/image/rgb_image.h"

namespace afterimage {

// Reads every image of a source once to hash it. Used by precompute and by on-line training. Immutable after Build, thread-safe.
// Holds 28 bytes per image; the pictures stay where they are.
class ImageIndex {
 public:
  // `progress(done)` is called from one thread now and then; a false return cancels (Cancelled). Errors of single files (gone,
  // unreadable) end the build with their name: a manifest must not depend on luck.
  static absl::StatusOr<std::unique_ptr<ImageIndex>> Build(std::shared_ptr<const ImageSource> source, int num_threads,
                                                           const std::function<bool(size_t done)>& progress = {});

  const Manifest& manifest() const { return manifest_; }
  // False where the source has none.
  bool has_labels() const { return !labels_.class_names.empty(); }
  const LabelTable& labels() const { return labels_; }
  const ImageSource& source() const { return *source_; }

  // The encoded bytes of a key, checked against it. NotFound: not in this index; DataLoss: the file has changed since Build.
  absl::StatusOr<std::string> ReadEncoded(const ImageKey& key) const;
  // ReadEncoded, decoded. InvalidArgument: the picture can't be decoded (final).
  absl::StatusOr<RgbImage> ReadImage(const ImageKey& key) const;
  // Name of the first occurrence, for messages; empty if unknown.
  std::string NameOf(const ImageKey& key) const;

 private:
  std::shared_ptr<const ImageSource> source_;
  Manifest manifest_;
  LabelTable labels_;
  std::vector<uint32_t> source_index_;   // per manifest key: the first occurrence in the source
};

}  // namespace afterimage
