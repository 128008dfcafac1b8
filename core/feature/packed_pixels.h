// The pixels of patches, smaller and without any loss. Private to core/feature.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/feature/huffman.h"
#include "core/feature/pixel_residuals.h"

namespace afterimage {

// Rows are patches of p x p pixels, RGB. Each patch by itself becomes residuals (pixel_residuals.h), and
// these a stream of Huffman codes of its own, with three codes, of green, red and blue, that all patches
// share. So a patch costs its share, whichever others are read. docs/feature_block_format.md has the bytes.

// A row of raw pixels is at most so long: the length of its coded bytes has 16 bits. Patches of up to 104
// pixels.
inline constexpr size_t kMaxPackedRowBytes = 1 << 15;
// All of them together: what a reader allocates does not follow from the coded bytes.
inline constexpr uint64_t kMaxPackedPixelBytes = 1 << 24;

// `rows`: whole rows of 3 p p bytes. Empty: these would not become smaller, or are too large.
std::vector<uint8_t> PackPixels(uint32_t patch_size, std::span<const uint8_t> rows);

// Over bytes that outlive it. Thread-safe.
class PackedPixels {
 public:
  // `num_rows` and `patch_size` keep to the limits above. DataLoss: the bytes are not of such rows.
  static absl::StatusOr<PackedPixels> Open(ByteSpan bytes, uint32_t num_rows, uint32_t patch_size);

  // Writes the rows of these numbers, all below num_rows, one after the other; empty: all. DataLoss: a row's
  // codes do not end where its bytes do.
  absl::Status Read(std::span<const uint16_t> rows, uint8_t* target) const;
  // The same on any processor: for the test that both ways agree.
  absl::Status ReadPortably(std::span<const uint16_t> rows, uint8_t* target) const;

 private:
  absl::Status Read(bool wide, std::span<const uint16_t> rows, uint8_t* target) const;

  ByteSpan bytes_;
  PixelLayout layout_;
  std::array<HuffmanTable, 3> tables_;
  std::vector<uint32_t> begin_;  // of each row in the bytes, and the end of the last one
};

}  // namespace afterimage
