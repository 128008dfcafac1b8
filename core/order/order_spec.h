// Which view comes at which position of an epoch: one pure function, on server and client alike.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/feature/feature_spec.h"
#include "core/feature/manifest.h"
#include "core/identity/canonical_spec.h"
#include "core/mask/mask.h"

namespace afterimage {

// Version 1. With (epoch, position) it gives the occurrence, its view seed and mask index.
struct OrderSpec {
  enum class Tail { kDrop, kPad };

  Digest256 manifest;
  uint64_t num_occurrences = 0;   // of that manifest
  uint64_t order_seed = 0;
  uint32_t num_view_seeds = 1;    // K; 0 = without bound: epoch e uses view seed e (a live teacher, `--fresh`)
  MaskSpec mask;                  // drawn per epoch where the set holds all tokens; of a `visible` set: a copy of its mask spec
  Tail tail = Tail::kDrop;        // a last, short batch is dropped, or filled up with weight-zero repeats from the front

  bool operator==(const OrderSpec&) const = default;
  Json ToCanonical() const;
  static absl::StatusOr<OrderSpec> FromCanonical(const Json& json);
  Digest256 Id() const;
  absl::Status Validate() const;
};

struct OrderEntry {
  uint64_t occurrence = 0;
  uint32_t view_seed = 0;
  uint32_t mask_index = 0;
  bool padding = false;   // repeats an earlier position of the epoch with weight zero
};

// Steps of one epoch at this global batch: floor (drop) or ceil (pad).
uint64_t StepsPerEpoch(const OrderSpec& spec, uint64_t global_batch);

// The entry at `position` (step t, slot b of the global batch is position t * G + b). Epoch e uses view seed e mod K and mask
// index floor(e / K) (mod M for a `visible` set). O(1): a Feistel permutation with cycle walking over the occurrences, keyed by
// (order seed, epoch). `position` may exceed num_occurrences only within the padding of the last batch. `num_masks`: M of a
// `visible` set, 0 otherwise.
OrderEntry EntryAt(const OrderSpec& spec, uint32_t num_masks, uint64_t epoch, uint64_t position);

// A permutation of [0, size), keyed. Exposed for its golden vectors.
uint64_t PermuteIndex(uint64_t index, uint64_t size, uint64_t seed, uint64_t epoch);

// Rank r of W takes slots floor(r G / W) .. floor((r + 1) G / W) of each global batch G.
struct RankSlice {
  uint32_t rank = 0;
  uint32_t num_ranks = 1;
};
struct SlotRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};
SlotRange SlotsOfRank(const RankSlice& slice, uint64_t global_batch);

}  // namespace afterimage
