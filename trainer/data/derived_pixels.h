// Pixels of records that were stored without them.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "core/feature/feature_block.h"
#include "core/feature/image_index.h"
#include "core/identity/image_key.h"
#include "core/view/view.h"

namespace afterimage::trainer {

// Makes the view of `key` again, as the record's block describes it, and writes the rows of `patches` (numbers of
// the grid's patches), uint8 [patches, p p 3], to `target`. FailedPrecondition: the view's digest is not the one
// that is stored with the features (both told, and the view spec). Further errors: those of
// ImageIndex::ReadImage and MakeView. Thread-safe.
absl::Status DerivePixels(const ImageIndex& images, const ViewSpec& spec, const RecordKey& key,
                          const FeatureBlock& block, std::span<const uint16_t> patches,
                          std::span<uint8_t> target);

}  // namespace afterimage::trainer
