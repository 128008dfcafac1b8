#include "core/feature/unit_ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace afterimage {

std::string UnitId::ToString() const {
  return absl::StrCat(manifest.Hex().substr(0, 16), "-s", shard, "-v", seed_begin, "-", seed_end);
}

std::vector<UnitId> UnitsOf(const UnitLayout& layout, const Digest256& manifest, uint32_t num_view_seeds,
                            bool seed_major) {
  const uint32_t num_ranges =
      num_view_seeds / layout.seeds_per_unit + (num_view_seeds % layout.seeds_per_unit != 0);
  std::vector<UnitId> units;
  units.reserve(size_t{layout.num_shards} * num_ranges);
  const auto add = [&](uint32_t shard, uint32_t range) {
    const uint32_t begin = range * layout.seeds_per_unit;
    units.push_back(
        {manifest, shard, begin, begin + std::min(layout.seeds_per_unit, num_view_seeds - begin)});
  };
  if (seed_major) {
    for (uint32_t range = 0; range < num_ranges; ++range) {
      for (uint32_t shard = 0; shard < layout.num_shards; ++shard) add(shard, range);
    }
  } else {
    for (uint32_t shard = 0; shard < layout.num_shards; ++shard) {
      for (uint32_t range = 0; range < num_ranges; ++range) add(shard, range);
    }
  }
  return units;
}

absl::Status ValidateClaim(const ClaimRequest& request) {
  // K beyond a million is a mistake, and its units would not fit into memory.
  constexpr uint32_t kMaxViewSeeds = 1 << 20;
  if (request.num_view_seeds == 0 || request.num_view_seeds > kMaxViewSeeds) {
    return absl::InvalidArgumentError(
        absl::StrCat("claim: ", request.num_view_seeds, " view seeds, it must be 1..", kMaxViewSeeds));
  }
  if (request.max_units == 0) return absl::InvalidArgumentError("claim: max_units is 0");
  if (request.worker.empty()) return absl::InvalidArgumentError("claim: the worker has no name");
  return ValidateLeaseDuration(request.lease_duration);
}

absl::Status ValidateLeaseDuration(absl::Duration lease_duration) {
  if (lease_duration > absl::ZeroDuration() && lease_duration <= kMaxLeaseDuration) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a lease of ", absl::FormatDuration(lease_duration),
                                                 ", it must be above 0 and at most ",
                                                 absl::FormatDuration(kMaxLeaseDuration)));
}

}  // namespace afterimage
