#include "tests/testing/synthetic_records.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/feature/profile_builder.h"
#include "core/view/view.h"

namespace afterimage::testing {
namespace {

// SplitMix64 (Steele, Lea and Flood, 2014): enough for made-up numbers.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // A multiple of 1/256 in [-4, 4].
  float Value() { return static_cast<float>(static_cast<int>(Next() % 2049) - 1024) / 256.0f; }
  // In [1/1024, 1].
  float Weight() { return static_cast<float>(1 + Next() % 1024) / 1024.0f; }

 private:
  uint64_t state_;
};

// The default profile, where the codec needs one; kept until the process ends.
const FeatureProfile* ProfileOf(const SetDescription& description) {
  if (!NeedsProfile(description.set.codec)) return nullptr;
  static std::mutex mutex;
  static std::map<Digest256, FeatureProfile> profiles;  // by set id
  const Digest256 id = description.set.Id();
  std::lock_guard lock(mutex);
  const auto found = profiles.find(id);
  if (found != profiles.end()) return &found->second;
  return &profiles.emplace(id, MakeSyntheticProfile(description)).first->second;
}

// What the set's codec gives back of it.
FeatureRecord AsStored(const SetDescription& description, const FeatureRecord& record) {
  if (description.set.codec == Codec::kF32) return record;
  const FeatureProfile* const profile = ProfileOf(description);
  const std::string bytes = EncodeFeatureBlock(record, description.set.codec, profile).value();
  return FeatureBlock::Parse(AsBytes(bytes), profile)->ToRecord().value();
}

}  // namespace

SetDescription MakeSyntheticDescription(const SyntheticOptions& options) {
  SetDescription description;
  description.feature.teacher = {{"family", "synthetic"}, {"name", options.teacher}};
  description.feature.preprocessing = {{"mean", {"0.5", "0.5", "0.5"}}, {"std", {"0.5", "0.5", "0.5"}}};
  description.feature.view.size = options.view_size;
  description.feature.geometry = {
      .num_levels = options.num_levels, .width = options.width, .grid = options.grid};
  description.set.feature_id = description.feature.Id();
  description.set.levels = options.levels;
  description.set.token_policy = options.token_policy;
  if (options.token_policy == TokenPolicy::kVisible) description.set.mask = options.mask;
  description.set.pixels = options.pixels;
  description.set.pixel_coding = options.pixel_coding;
  description.set.codec = options.codec;
  description.layout = options.layout;
  if (NeedsProfile(options.codec) || options.wire_profile)
    description.set.profile_digest = MakeSyntheticProfile(description).digest();
  return description;
}

ImageKey SyntheticImageKey(uint64_t index) {
  return ImageKey::OfEncodedImage(AsBytes(absl::StrCat("synthetic image ", index)));
}

Manifest MakeSyntheticManifest(uint64_t count, uint64_t first) {
  std::vector<ImageKey> keys;
  for (uint64_t i = 0; i < count; ++i) keys.push_back(SyntheticImageKey(first + i));
  return Manifest::FromOccurrences(std::move(keys));
}

FeatureRecord MakeSyntheticRecord(const SetDescription& description, const RecordKey& key, uint64_t salt) {
  const TeacherGeometry& geometry = description.feature.geometry;
  Numbers numbers(Xxh3_64(AsBytes(absl::StrCat(key.ToString(), "/", salt))));
  FeatureRecord record;
  record.view_size = description.feature.view.size;
  record.grid = geometry.grid;
  record.geometry = {.image_width = 640, .image_height = 480, .flipped = numbers.Next() % 2 == 1};
  record.geometry.box = {static_cast<uint32_t>(numbers.Next() % 100),
                         static_cast<uint32_t>(numbers.Next() % 100), 300, 200};
  for (uint32_t i = 0; i < geometry.num_patches(); ++i) record.importance.push_back(numbers.Weight());
  for (uint32_t i = 0; i < geometry.num_tokens(); ++i) record.tokens.push_back(static_cast<uint16_t>(i));
  for (const uint32_t level : description.set.levels) {
    LevelFeatures& features = record.levels.emplace_back();
    features.level = level;
    features.width = geometry.width;
    for (uint32_t i = 0; i < geometry.num_tokens() * geometry.width; ++i)
      features.values.push_back(numbers.Value());
    for (uint32_t i = 0; i < geometry.num_tokens(); ++i) {
      features.mean.push_back(numbers.Value());
      features.inverse_deviation.push_back(numbers.Weight());
    }
  }
  RgbImage view;
  view.width = view.height = record.view_size;
  for (uint32_t i = 0; i < 3 * view.width * view.height; ++i)
    view.pixels.push_back(static_cast<uint8_t>(description.set.pixel_coding == PixelCoding::kPacked
                                                   ? i % (3 * view.width) + numbers.Next() % 4
                                                   : numbers.Next()));
  record.view_digest = ViewDigest(view);
  if (description.set.pixels) record.pixels = ToPatchMajor(view, geometry.grid);

  if (description.set.token_policy == TokenPolicy::kAll) return AsStored(description, record);
  std::vector<std::vector<uint16_t>> masks;
  for (uint32_t i = 0; i < description.set.mask.num_masks; ++i) {
    masks.push_back(DrawMask(description.set.mask, key.image, key.view_seed, i, record.importance).value());
  }
  return AsStored(description, KeepVisible(record, std::move(masks)));
}

FeatureProfile MakeSyntheticProfile(const SetDescription& description, uint64_t num_records) {
  SetDescription exact = description;
  exact.set.codec = Codec::kF32;
  exact.set.token_policy = TokenPolicy::kAll;
  ProfileBuilder builder(exact.set.feature_id, exact.set.levels, exact.feature.geometry.width);
  for (uint64_t i = 0; i < num_records; ++i) {
    const absl::Status added = builder.Add(MakeSyntheticRecord(exact, {SyntheticImageKey(i), 0}));
    if (!added.ok()) std::abort();
  }
  return builder.Finish().value();
}

std::string MakeSyntheticBlock(const SetDescription& description, const RecordKey& key, uint64_t salt) {
  const FeatureRecord record = MakeSyntheticRecord(description, key, salt);
  return EncodeFeatureBlock(record, description.set.codec, ProfileOf(description),
                            description.set.pixel_coding)
      .value();
}

UnitMetadata MakeSyntheticMetadata(const std::string& worker) {
  UnitMetadata metadata;
  metadata.worker = worker;
  metadata.device = "cpu: made up";
  metadata.library_versions = "none";
  metadata.num_threads = 1;
  metadata.micro_batch = 8;
  return metadata;
}

absl::StatusOr<PublishReport> PublishClaimed(const OpenedSet& set, const ClaimedUnit& unit,
                                             const FailsFunction& fails, uint64_t salt) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<UnitWriter> writer, set.publisher->Open(unit.lease));
  UnitMetadata metadata = MakeSyntheticMetadata(unit.lease.worker);
  for (const RecordKey& key : unit.wanted) {
    const bool failed = fails && fails(key);
    const std::string block = failed ? EncodeFailedBlock(kSyntheticFailureReason)
                                     : MakeSyntheticBlock(set.store->description(), key, salt);
    AFTERIMAGE_RETURN_IF_ERROR(writer->Add(key, AsBytes(block)));
    ++(failed ? metadata.num_failed : metadata.num_records);
  }
  return writer->Publish(metadata);
}

absl::Status FillSet(const OpenedSet& set, const Digest256& manifest, uint32_t num_view_seeds,
                     const FailsFunction& fails) {
  ClaimRequest request;
  request.manifest = manifest;
  request.num_view_seeds = num_view_seeds;
  request.worker = "filler";
  while (true) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const ClaimResult claimed, set.ledger->Claim(request));
    if (claimed.units.empty()) {
      if (claimed.all_complete) return set.store->Refresh();
      return absl::FailedPreconditionError("units are leased by others");
    }
    for (const ClaimedUnit& unit : claimed.units) {
      AFTERIMAGE_RETURN_IF_ERROR(PublishClaimed(set, unit, fails).status());
    }
  }
}

}  // namespace afterimage::testing
