#include "core/order/order_spec.h"

#include <bit>
#include <cstdlib>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr int64_t kOrderVersion = 1;
constexpr int kFeistelRounds = 8;
// Canonical specs hold signed 64-bit integers.
constexpr uint64_t kMaxInteger = std::numeric_limits<int64_t>::max();

const char* TailName(OrderSpec::Tail tail) { return tail == OrderSpec::Tail::kPad ? "pad" : "drop"; }

absl::StatusOr<OrderSpec::Tail> ParseTail(absl::string_view name) {
  if (name == "drop") return OrderSpec::Tail::kDrop;
  if (name == "pad") return OrderSpec::Tail::kPad;
  return absl::InvalidArgumentError(absl::StrCat("order spec: tail \"", name, "\" is neither drop nor pad"));
}

// A field that must lie in [0, limit].
absl::StatusOr<uint64_t> BoundedField(const Json& object, absl::string_view key, uint64_t limit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t value, IntegerField(object, key));
  if (value < 0 || static_cast<uint64_t>(value) > limit) {
    return absl::InvalidArgumentError(absl::StrCat("order spec: ", key, " is ", value, ", must be in 0..", limit));
  }
  return static_cast<uint64_t>(value);
}

// One round: the low `half_bits` bits of XXH3-64(seed, epoch, round, half), 8 + 8 + 4 + 4 bytes.
uint64_t RoundFunction(uint64_t seed, uint64_t epoch, uint32_t round, uint32_t half, uint64_t half_mask) {
  uint8_t input[24];
  std::memcpy(input, &seed, 8);
  std::memcpy(input + 8, &epoch, 8);
  std::memcpy(input + 16, &round, 4);
  std::memcpy(input + 20, &half, 4);
  return Xxh3_64(ByteSpan(input, sizeof(input))) & half_mask;
}

}  // namespace

Json OrderSpec::ToCanonical() const {
  return Json{{"version", kOrderVersion},
              {"manifest", manifest.Hex()},
              {"num_occurrences", num_occurrences},
              {"order_seed", order_seed},
              {"num_view_seeds", num_view_seeds},
              {"mask", mask.ToCanonical()},
              {"tail", TailName(tail)}};
}

absl::StatusOr<OrderSpec> OrderSpec::FromCanonical(const Json& json) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const int64_t version, IntegerField(json, "version"));
  if (version != kOrderVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("order spec: version ", version, ", this program knows version ", kOrderVersion));
  }
  AFTERIMAGE_RETURN_IF_ERROR(RefuseUnknownKeys(
      json, {"version", "manifest", "num_occurrences", "order_seed", "num_view_seeds", "mask", "tail"}));
  OrderSpec spec;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string manifest_hex, TextField(json, "manifest"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.manifest, Digest256::FromHex(manifest_hex));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.num_occurrences, BoundedField(json, "num_occurrences", kMaxInteger));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.order_seed, BoundedField(json, "order_seed", kMaxInteger));
  AFTERIMAGE_ASSIGN_OR_RETURN(const uint64_t num_view_seeds,
                              BoundedField(json, "num_view_seeds", std::numeric_limits<uint32_t>::max()));
  spec.num_view_seeds = static_cast<uint32_t>(num_view_seeds);
  if (!json.contains("mask")) return absl::InvalidArgumentError("order spec: mask is absent");
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.mask, MaskSpec::FromCanonical(json.at("mask")));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string tail_name, TextField(json, "tail"));
  AFTERIMAGE_ASSIGN_OR_RETURN(spec.tail, ParseTail(tail_name));
  AFTERIMAGE_RETURN_IF_ERROR(spec.Validate());
  return spec;
}

Digest256 OrderSpec::Id() const { return CanonicalDigest(ToCanonical()); }

absl::Status OrderSpec::Validate() const {
  if (manifest.IsZero()) return absl::InvalidArgumentError("order spec: it names no manifest");
  if (num_occurrences == 0) return absl::InvalidArgumentError("order spec: num_occurrences is 0, there is nothing to order");
  if (num_occurrences > kMaxInteger) {
    return absl::InvalidArgumentError(
        absl::StrCat("order spec: num_occurrences is ", num_occurrences, ", the limit is ", kMaxInteger));
  }
  if (order_seed > kMaxInteger) {
    return absl::InvalidArgumentError(absl::StrCat("order spec: order_seed is ", order_seed, ", the limit is ", kMaxInteger));
  }
  if (mask.num_visible == 0) return absl::InvalidArgumentError("order spec: the mask keeps 0 visible patches");
  return absl::OkStatus();
}

uint64_t StepsPerEpoch(const OrderSpec& spec, uint64_t global_batch) {
  if (global_batch == 0) return 0;
  const uint64_t whole = spec.num_occurrences / global_batch;
  const bool short_batch = spec.num_occurrences % global_batch != 0;
  return whole + (spec.tail == OrderSpec::Tail::kPad && short_batch ? 1 : 0);
}

OrderEntry EntryAt(const OrderSpec& spec, uint32_t num_masks, uint64_t epoch, uint64_t position) {
  if (spec.num_occurrences == 0) std::abort();  // Validate refuses such an order
  OrderEntry entry;
  entry.padding = position >= spec.num_occurrences;
  entry.occurrence =
      PermuteIndex(position % spec.num_occurrences, spec.num_occurrences, spec.order_seed, epoch);
  if (spec.num_view_seeds == 0) {
    entry.view_seed = static_cast<uint32_t>(epoch);
    return entry;
  }
  entry.view_seed = static_cast<uint32_t>(epoch % spec.num_view_seeds);
  const uint64_t cycle = epoch / spec.num_view_seeds;
  entry.mask_index = static_cast<uint32_t>(num_masks == 0 ? cycle : cycle % num_masks);
  return entry;
}

uint64_t PermuteIndex(uint64_t index, uint64_t size, uint64_t seed, uint64_t epoch) {
  if (index >= size) std::abort();
  if (size == 1) return 0;
  // The smallest domain of 2 * half_bits bits that holds all indices is less than four times the size.
  const int half_bits = (std::bit_width(size - 1) + 1) / 2;
  const uint64_t half_mask = (uint64_t{1} << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits;
    uint64_t right = index & half_mask;
    for (uint32_t round = 0; round < kFeistelRounds; ++round) {
      const uint64_t mixed = left ^ RoundFunction(seed, epoch, round, static_cast<uint32_t>(right), half_mask);
      left = right;
      right = mixed;
    }
    index = (left << half_bits) | right;
  } while (index >= size);  // cycle walking: a permutation of the domain, restricted, is one of [0, size)
  return index;
}

SlotRange SlotsOfRank(const RankSlice& slice, uint64_t global_batch) {
  using Wide = unsigned __int128;
  const auto bound = [&](uint64_t rank) {
    return static_cast<uint64_t>(Wide{rank} * global_batch / slice.num_ranks);
  };
  return {bound(slice.rank), bound(uint64_t{slice.rank} + 1)};
}

}  // namespace afterimage
