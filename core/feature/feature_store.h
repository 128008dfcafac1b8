// Reading records by key.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_spec.h"
#include "core/identity/image_key.h"

namespace afterimage {

enum class RecordState : uint8_t {
  kOk = 1,
  kMissing = 2,  // not computed yet
  kDamaged = 3,  // bytes fail their checks
  kFailed = 4,   // the image can't be decoded: final
};
const char* RecordStateName(RecordState state);  // "OK", "MISSING", "DAMAGED", "FAILED"

struct RecordResult {
  RecordState state = RecordState::kMissing;
  PinnedBytes block;   // kOk: the block, or the selected part of it
  std::string reason;  // kDamaged, kFailed: why, naming the key
};

// Receives results in the order of the keys asked for. A false return ends the read early (Cancelled).
using RecordSink = std::function<bool(size_t index, RecordResult result)>;

// The mask that Selection::Tokens::kMask refers to, for an `all` set (drawn from the stored importance) or a
// `visible` one (stored).
struct MaskChoice {
  MaskSpec spec;  // ignored for a `visible` set
  uint32_t mask_index = 0;
};

// The records of one set. Thread-safe.
class FeatureStore {
 public:
  virtual ~FeatureStore() = default;

  virtual const SetDescription& description() const = 0;
  // What blocks of the set are decoded with (FeatureBlock::Parse); lives as long as the store. Null where the
  // set's codec needs none.
  virtual const FeatureProfile* profile() const = 0;

  // Reads `keys`, one result per key. Absent, damaged and failed records are states, never the end of the
  // call. What is returned is verified, section by section or as part of what the store read. InvalidArgument: a level that the set does
  // not have, or pixels of a set without; Unavailable: the store is out of reach.
  virtual absl::Status Read(std::span<const RecordKey> keys, const Selection& selection,
                            const MaskChoice& mask, const RecordSink& sink) = 0;

  // Sees what other processes have published since. A no-op where reads always see everything.
  virtual absl::Status Refresh() = 0;
};

// Read of one key: NotFound when missing, DataLoss when damaged, FailedPrecondition (with the reason) when
// failed.
absl::StatusOr<PinnedBytes> ReadOne(FeatureStore& store, const RecordKey& key,
                                    const Selection& selection = {}, const MaskChoice& mask = {});

// What every implementation does with a stored value: parse, state, select. `value` empty = missing.
// `profile`: the store's.
RecordResult ResultFromStored(const SetDescription& description, const RecordKey& key,
                              const PinnedBytes& value, bool found, const Selection& selection,
                              const MaskChoice& mask, const FeatureProfile* profile = nullptr);

// FailedPrecondition if the encoding needs a profile and the set names none. InvalidArgument if the set
// cannot answer this selection; names what is missing and what there is. The whole (Selection::IsWhole) is
// always answered, also by a set without pixels.
absl::Status ValidateSelection(const SetDescription& description, const Selection& selection);
// The same for the mask of Selection::Tokens::kMask: its index (`visible`) or its number of patches (`all`).
absl::Status ValidateMaskChoice(const SetDescription& description, const Selection& selection,
                                const MaskChoice& mask);

}  // namespace afterimage
