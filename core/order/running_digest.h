// A digest of everything that was trained on, in order, that does not depend on the number of ranks.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/digest.h"
#include "core/feature/feature_store.h"
#include "core/identity/image_key.h"

namespace afterimage {

// Two wrapping 64-bit sums over the samples of a step; ranks add theirs.
struct StepSum {
  uint64_t low = 0;
  uint64_t high = 0;

  void Add(const StepSum& other) { low += other.low; high += other.high; }
  bool operator==(const StepSum&) const = default;
};

// XXH3-128 of (position, key, view seed, mask index, state, record digest), 52 little-endian bytes as docs/order.md says.
StepSum SampleSum(uint64_t position, const RecordKey& key, uint32_t mask_index, RecordState state, const Digest128& record_digest);

// D_0 of an epoch: the hash of (set id, order id, epoch), and of the further sets where there are several teachers.
Digest128 EpochStartDigest(const Digest256& set_id, const Digest256& order_id, uint64_t epoch,
                           std::span<const Digest256> further_set_ids = {});
// D_t = XXH3-128(D_{t-1}, t, S): `previous` is the digest before `step` (steps count from 0), the result the one after it.
Digest128 AdvanceDigest(const Digest128& previous, uint64_t step, const StepSum& sum);

}  // namespace afterimage
