#include "core/feature/manifest.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

// docs/manifest_format.md
constexpr char kKeysMagic[9] = "AFTIKEYS";
constexpr char kLabelsMagic[9] = "AFTILABL";
constexpr size_t kMagicBytes = 8;
constexpr uint32_t kFormatVersion = 1;
constexpr size_t kKeyBytes = 16;
constexpr size_t kDigestBytes = 32;
constexpr size_t kKeysHeaderBytes = 8 + 4 + 4 + 8 + 8;  // magic, version, flags, keys, occurrences
constexpr size_t kLabelsHeaderBytes = 8 + 4 + 4 + 8;    // magic, version, classes, occurrences
constexpr uint32_t kFlagRepeats = 1;                    // multiplicities follow the keys
constexpr char kDigestPrefix[] = "afterimage-manifest-1\n";

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "afterimage: broken invariant: %s\n", what);
  std::abort();
}

absl::Status CheckStart(ByteSpan bytes, const char* magic, size_t header_bytes, absl::string_view what) {
  if (bytes.size() < header_bytes + kDigestBytes) {
    return absl::DataLossError(absl::StrCat(what, ": ", bytes.size(), " bytes are too few"));
  }
  if (!std::equal(magic, magic + kMagicBytes, bytes.begin())) {
    return absl::DataLossError(absl::StrCat(what, ": the bytes do not begin with ", magic));
  }
  const uint32_t version = LoadLittleEndian<uint32_t>(bytes.data() + kMagicBytes);
  if (version != kFormatVersion) {
    return absl::DataLossError(
        absl::StrCat(what, ": format version ", version, ", this program reads version ", kFormatVersion));
  }
  return absl::OkStatus();
}

Digest256 TrailingDigest(ByteSpan bytes) {
  Digest256 digest;
  std::copy_n(bytes.end() - kDigestBytes, kDigestBytes, digest.bytes.begin());
  return digest;
}

void AppendDigest(const Digest256& digest, std::string& target) {
  target.append(reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size());
}

// SHA-256 of the prefix, then per key its 16 bytes and its multiplicity: no matter how a file stores them.
Digest256 DigestOf(const Manifest& manifest) {
  Sha256Stream stream;
  stream.Update(AsBytes(kDigestPrefix));
  for (size_t i = 0; i < manifest.num_keys(); ++i) {
    const uint32_t multiplicity = manifest.multiplicity(i);
    stream.Update(manifest.keys()[i].bytes);
    stream.Update({reinterpret_cast<const uint8_t*>(&multiplicity), sizeof(multiplicity)});
  }
  return stream.Finish();
}

}  // namespace

Manifest Manifest::FromOccurrences(std::vector<ImageKey> keys) {
  std::sort(keys.begin(), keys.end());
  Manifest manifest;
  manifest.num_occurrences_ = keys.size();
  std::vector<uint64_t> first;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i == 0 || keys[i] != keys[i - 1]) first.push_back(i);
  }
  if (first.size() != keys.size()) {
    manifest.first_occurrence_ = std::move(first);
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  }
  manifest.keys_ = std::move(keys);

  manifest.digest_ = DigestOf(manifest);
  return manifest;
}

uint32_t Manifest::multiplicity(size_t index) const {
  if (first_occurrence_.empty()) return 1;
  const uint64_t end = index + 1 < first_occurrence_.size() ? first_occurrence_[index + 1] : num_occurrences_;
  return static_cast<uint32_t>(end - first_occurrence_[index]);
}

uint64_t Manifest::FirstOccurrence(size_t index) const {
  return first_occurrence_.empty() ? index : first_occurrence_[index];
}

size_t Manifest::KeyIndexOfOccurrence(uint64_t occurrence) const {
  if (first_occurrence_.empty()) return occurrence;
  return std::upper_bound(first_occurrence_.begin(), first_occurrence_.end(), occurrence) -
         first_occurrence_.begin() - 1;
}

std::string Manifest::Serialize() const {
  const bool repeats = !first_occurrence_.empty();
  std::string bytes;
  bytes.reserve(kKeysHeaderBytes + keys_.size() * (kKeyBytes + (repeats ? sizeof(uint32_t) : 0)) +
                kDigestBytes);
  bytes.append(kKeysMagic, kMagicBytes);
  AppendLittleEndian<uint32_t>(kFormatVersion, bytes);
  AppendLittleEndian<uint32_t>(repeats ? kFlagRepeats : 0, bytes);
  AppendLittleEndian<uint64_t>(keys_.size(), bytes);
  AppendLittleEndian<uint64_t>(num_occurrences_, bytes);
  for (const ImageKey& key : keys_) bytes.append(reinterpret_cast<const char*>(key.bytes.data()), kKeyBytes);
  for (size_t i = 0; repeats && i < keys_.size(); ++i) AppendLittleEndian<uint32_t>(multiplicity(i), bytes);
  AppendDigest(digest_, bytes);
  return bytes;
}

absl::StatusOr<Manifest> Manifest::Parse(ByteSpan bytes) {
  const absl::Status start = CheckStart(bytes, kKeysMagic, kKeysHeaderBytes, "manifest");
  if (!start.ok()) return start;
  const uint8_t* const header = bytes.data();
  const uint32_t flags = LoadLittleEndian<uint32_t>(header + 12);
  const uint64_t num_keys = LoadLittleEndian<uint64_t>(header + 16);
  const uint64_t num_occurrences = LoadLittleEndian<uint64_t>(header + 24);
  if (flags > kFlagRepeats) return absl::DataLossError(absl::StrCat("manifest: unknown flags ", flags));
  const bool repeats = flags == kFlagRepeats;
  const size_t entry_bytes = kKeyBytes + (repeats ? sizeof(uint32_t) : 0);
  const size_t body_bytes = bytes.size() - kKeysHeaderBytes - kDigestBytes;
  if (body_bytes % entry_bytes != 0 || num_keys != body_bytes / entry_bytes) {
    return absl::DataLossError(absl::StrCat("manifest: ", bytes.size(), " bytes do not hold exactly the ",
                                            num_keys, " keys of the header"));
  }

  Manifest manifest;
  manifest.num_occurrences_ = num_occurrences;
  manifest.keys_.resize(num_keys);
  const uint8_t* const body = header + kKeysHeaderBytes;
  for (uint64_t i = 0; i < num_keys; ++i) {
    std::copy_n(body + i * kKeyBytes, kKeyBytes, manifest.keys_[i].bytes.begin());
    if (i > 0 && manifest.keys_[i] <= manifest.keys_[i - 1]) {
      return absl::DataLossError(absl::StrCat("manifest: key ", i, " is not above the one before it"));
    }
  }
  uint64_t counted = repeats ? 0 : num_keys;
  for (uint64_t i = 0; repeats && i < num_keys; ++i) {
    const uint32_t multiplicity =
        LoadLittleEndian<uint32_t>(body + num_keys * kKeyBytes + i * sizeof(uint32_t));
    if (multiplicity == 0)
      return absl::DataLossError(absl::StrCat("manifest: key ", i, " occurs zero times"));
    manifest.first_occurrence_.push_back(counted);
    counted += multiplicity;
  }
  if (counted != num_occurrences || (repeats && counted == num_keys)) {
    return absl::DataLossError(absl::StrCat("manifest: the header says ", num_occurrences, " occurrences in ",
                                            num_keys, " keys, the keys have ", counted));
  }

  manifest.digest_ = DigestOf(manifest);
  if (manifest.digest_ != TrailingDigest(bytes)) {
    return absl::DataLossError(absl::StrCat("manifest: the content has the digest ", manifest.digest_.Hex(),
                                            ", the file says ", TrailingDigest(bytes).Hex()));
  }
  return manifest;
}

uint32_t ShardOfKey(const ImageKey& key, uint32_t num_shards) {
  const uint64_t prefix = uint64_t{key.bytes[0]} << 24 | uint64_t{key.bytes[1]} << 16 |
                          uint64_t{key.bytes[2]} << 8 | uint64_t{key.bytes[3]};
  return static_cast<uint32_t>((prefix * num_shards) >> 32);
}

KeyIndexRange ShardKeys(const Manifest& manifest, uint32_t shard, uint32_t num_shards) {
  const std::vector<ImageKey>& keys = manifest.keys();
  const auto begin = std::partition_point(
      keys.begin(), keys.end(), [&](const ImageKey& key) { return ShardOfKey(key, num_shards) < shard; });
  const auto end = std::partition_point(
      begin, keys.end(), [&](const ImageKey& key) { return ShardOfKey(key, num_shards) == shard; });
  return {static_cast<size_t>(begin - keys.begin()), static_cast<size_t>(end - keys.begin())};
}

namespace {

// Everything but the trailing digest; the digest is the SHA-256 of these bytes.
std::string LabelBody(const LabelTable& table) {
  std::string bytes(kLabelsMagic, kMagicBytes);
  AppendLittleEndian<uint32_t>(kFormatVersion, bytes);
  AppendLittleEndian<uint32_t>(static_cast<uint32_t>(table.class_names.size()), bytes);
  AppendLittleEndian<uint64_t>(table.labels.size(), bytes);
  for (const int32_t label : table.labels) AppendLittleEndian<int32_t>(label, bytes);
  for (const std::string& name : table.class_names) {
    AppendLittleEndian<uint32_t>(static_cast<uint32_t>(name.size()), bytes);
    bytes.append(name);
  }
  return bytes;
}

}  // namespace

Digest256 LabelTable::Digest() const { return Sha256(AsBytes(LabelBody(*this))); }

std::string LabelTable::Serialize() const {
  std::string bytes = LabelBody(*this);
  AppendDigest(Sha256(AsBytes(bytes)), bytes);
  return bytes;
}

absl::StatusOr<LabelTable> LabelTable::Parse(ByteSpan bytes) {
  const absl::Status start = CheckStart(bytes, kLabelsMagic, kLabelsHeaderBytes, "labels");
  if (!start.ok()) return start;
  const ByteSpan body = bytes.first(bytes.size() - kDigestBytes);
  // The digest first: everything after it is what some writer meant.
  if (Sha256(body) != TrailingDigest(bytes))
    return absl::DataLossError("labels: the digest does not fit the content");

  const uint32_t num_classes = LoadLittleEndian<uint32_t>(body.data() + 12);
  const uint64_t num_labels = LoadLittleEndian<uint64_t>(body.data() + 16);
  ByteSpan rest = body.subspan(kLabelsHeaderBytes);
  if (num_labels > rest.size() / sizeof(int32_t)) {
    return absl::DataLossError(
        absl::StrCat("labels: ", bytes.size(), " bytes are too few for ", num_labels, " labels"));
  }
  LabelTable table;
  table.labels.resize(num_labels);
  for (uint64_t i = 0; i < num_labels; ++i) {
    table.labels[i] = LoadLittleEndian<int32_t>(rest.data() + i * sizeof(int32_t));
    if (table.labels[i] < -1 || (num_classes > 0 && table.labels[i] >= static_cast<int64_t>(num_classes))) {
      return absl::DataLossError(absl::StrCat("labels: label ", table.labels[i], " of occurrence ", i,
                                              " is not one of ", num_classes, " classes"));
    }
  }
  rest = rest.subspan(num_labels * sizeof(int32_t));
  for (uint32_t i = 0; i < num_classes; ++i) {
    const uint32_t length = rest.size() < sizeof(uint32_t) ? std::numeric_limits<uint32_t>::max()
                                                           : LoadLittleEndian<uint32_t>(rest.data());
    if (rest.size() < sizeof(uint32_t) || length > rest.size() - sizeof(uint32_t)) {
      return absl::DataLossError(absl::StrCat("labels: the name of class ", i, " is cut off"));
    }
    table.class_names.emplace_back(reinterpret_cast<const char*>(rest.data()) + sizeof(uint32_t), length);
    rest = rest.subspan(sizeof(uint32_t) + length);
  }
  if (!rest.empty()) return absl::DataLossError(absl::StrCat("labels: ", rest.size(), " bytes too many"));
  return table;
}

LabelTable LabelTable::FromOccurrences(const Manifest& manifest, const std::vector<ImageKey>& keys,
                                       const std::vector<int32_t>& labels,
                                       std::vector<std::string> class_names) {
  Require(keys.size() == labels.size(), "keys and labels are parallel arrays");
  Require(keys.size() == manifest.num_occurrences(), "labels are given for each occurrence of the manifest");
  std::vector<std::pair<ImageKey, int32_t>> pairs;
  pairs.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) pairs.emplace_back(keys[i], labels[i]);
  std::sort(pairs.begin(), pairs.end());
  LabelTable table;
  table.class_names = std::move(class_names);
  table.labels.reserve(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    Require(pairs[i].first == manifest.keys()[manifest.KeyIndexOfOccurrence(i)],
            "a labelled image is in the manifest");
    table.labels.push_back(pairs[i].second);
  }
  return table;
}

}  // namespace afterimage
