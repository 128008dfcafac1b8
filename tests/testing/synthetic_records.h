// Records, sets and manifests made up from nothing: deterministic, of any geometry and token policy.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/feature/feature_catalog.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/manifest.h"

namespace afterimage::testing {

struct SyntheticOptions {
  uint32_t num_levels = 4;
  std::vector<uint32_t> levels = {3, 4};
  uint32_t width = 24;
  uint32_t grid = 4;
  uint32_t view_size = 16;
  TokenPolicy token_policy = TokenPolicy::kAll;
  MaskSpec mask = {.num_visible = 5};  // kVisible
  bool pixels = true;
  PixelCoding pixel_coding = PixelCoding::kRaw;
  Codec codec = Codec::kF16;
  bool wire_profile = false;  // the default profile also where the codec needs none
  UnitLayout layout = {.num_shards = 4, .seeds_per_unit = 2};
  std::string teacher = "synthetic";  // another name is another feature id
};

// A valid description.
SetDescription MakeSyntheticDescription(const SyntheticOptions& options = {});

// A profile of this description's feature id, calibrated on the first `num_records` made-up records of it
// (all tokens, as no codec has rounded them), with every level that the set stores. MakeSyntheticDescription
// names the default one where the codec needs a profile.
FeatureProfile MakeSyntheticProfile(const SetDescription& description, uint64_t num_records = 8);

// The key of the made-up picture `index`.
ImageKey SyntheticImageKey(uint64_t index);
// Pictures first .. first + count - 1, each once.
Manifest MakeSyntheticManifest(uint64_t count, uint64_t first = 0);

// What the made-up teacher sees: a pure function of (description, key, salt). Values are multiples of 1/256
// below 4 in magnitude, so that f16 holds them exactly; for a set whose codec rounds more, as it rounds them.
// So each set gives its records back as they were. Pixels are noise; of a set that packs them a slope.
FeatureRecord MakeSyntheticRecord(const SetDescription& description, const RecordKey& key, uint64_t salt = 0);
// The block that a set of this description stores for it.
std::string MakeSyntheticBlock(const SetDescription& description, const RecordKey& key, uint64_t salt = 0);

// True for keys whose picture is to be stored as FAILED, with SyntheticFailureReason.
using FailsFunction = std::function<bool(const RecordKey&)>;
inline constexpr char kSyntheticFailureReason[] = "not an image: made up";

UnitMetadata MakeSyntheticMetadata(const std::string& worker);

// Adds a block for each key that the unit wants, and publishes.
absl::StatusOr<PublishReport> PublishClaimed(const OpenedSet& set, const ClaimedUnit& unit,
                                             const FailsFunction& fails = {}, uint64_t salt = 0);
// Claims and publishes until the manifest is complete for view seeds 0..K-1.
absl::Status FillSet(const OpenedSet& set, const Digest256& manifest, uint32_t num_view_seeds,
                     const FailsFunction& fails = {});

}  // namespace afterimage::testing
