// The content of a data set: which images, how often.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/digest.h"
#include "core/identity/image_key.h"

namespace afterimage {

// The sorted list of image keys; an equal image is one key with several occurrences. Immutable, thread-safe.
// Occurrences are numbered in key order: the occurrences of key i are FirstOccurrence(i) .. + multiplicity(i)
// - 1.
class Manifest {
 public:
  Manifest() = default;
  // One entry per occurrence, in any order.
  static Manifest FromOccurrences(std::vector<ImageKey> keys);

  size_t num_keys() const { return keys_.size(); }
  uint64_t num_occurrences() const { return num_occurrences_; }
  const std::vector<ImageKey>& keys() const { return keys_; }
  uint32_t multiplicity(size_t index) const;
  uint64_t FirstOccurrence(size_t index) const;
  // Index into keys() of an occurrence < num_occurrences(). O(1) without repeats, else O(log n).
  size_t KeyIndexOfOccurrence(uint64_t occurrence) const;

  // SHA-256 over keys and multiplicities; names the data set. Computed once.
  const Digest256& digest() const { return digest_; }

  // The bytes of manifests/<digest>/keys (docs/manifest_format.md).
  std::string Serialize() const;
  // DataLoss: bad magic, version, length, order or digest.
  static absl::StatusOr<Manifest> Parse(ByteSpan bytes);

 private:
  std::vector<ImageKey> keys_;
  std::vector<uint64_t> first_occurrence_;  // empty when no key repeats
  uint64_t num_occurrences_ = 0;
  Digest256 digest_;
};

// The half-open range of key indices of one shard of the key space: shard s of S holds the keys whose first
// 32 bits p (big-endian) have floor(p * S / 2^32) = s.
struct KeyIndexRange {
  size_t begin = 0;
  size_t end = 0;
};
KeyIndexRange ShardKeys(const Manifest& manifest, uint32_t shard, uint32_t num_shards);
// The shard that a key belongs to.
uint32_t ShardOfKey(const ImageKey& key, uint32_t num_shards);

// Labels of a manifest's occurrences, with a digest of their own.
struct LabelTable {
  std::vector<int32_t> labels;  // one per occurrence; -1 = none. Ascending within one key.
  std::vector<std::string> class_names;

  Digest256 Digest() const;
  std::string Serialize() const;
  static absl::StatusOr<LabelTable> Parse(ByteSpan bytes);
  // Labels of `occurrences` (parallel arrays, source order) brought into the manifest's occurrence order.
  static LabelTable FromOccurrences(const Manifest& manifest, const std::vector<ImageKey>& keys,
                                    const std::vector<int32_t>& labels, std::vector<std::string> class_names);
};

}  // namespace afterimage
