// Rows of one plane of a feature block, of whatever type. Private to core/feature.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/profile.h"

namespace afterimage::block {

// What values are decoded with: int8 with their steps, packed ones with theirs.
struct PlaneScales {
  const I8xChannels* i8x = nullptr;
  const PackedChannels* packed = nullptr;
};

// Over bytes that have been verified and that outlive it, or that it owns. Thread-safe.
class PlaneReader {
 public:
  // `row_bytes`: of one row, 0 where the plane has none. `exceptions`: as CheckExceptions has accepted them;
  // empty for types without. `scales`: none unless the type has exceptions and ReadRow is called; they fit
  // width and row_bytes. `owned`: keeps `rows` alive where the block does not.
  PlaneReader(ElementType type, uint32_t width, size_t row_bytes, ByteSpan rows, ByteSpan exceptions = {},
              PlaneScales scales = {}, std::shared_ptr<const uint8_t[]> owned = nullptr)
      : type_(type),
        width_(width),
        row_bytes_(row_bytes),
        rows_(rows),
        exceptions_(exceptions),
        scales_(scales),
        owned_(std::move(owned)) {}

  // DataLoss: positions not ascending or not below `num_values`, a value that is not finite or beyond
  // kLargestFeature.
  static absl::Status CheckExceptions(ByteSpan exceptions, uint64_t num_values);

  ElementType type() const { return type_; }
  // As stored.
  ByteSpan bytes() const { return rows_; }
  ByteSpan RowBytes(size_t row) const { return rows_.subspan(row * row_bytes_, row_bytes_); }
  size_t row_bytes() const { return row_bytes_; }
  // Decoded into `width` floats.
  void ReadRow(size_t row, std::span<float> target) const;
  // The same as elements of `type`, which IsFloat. `scratch`: room for `width` floats. Returns the first
  // channel whose value is beyond the type's range (what is written is unspecified then), or `width`.
  // FinishHalfRows (half_rows.h) has to follow the last of them.
  size_t ReadRowAs(ElementType type, size_t row, std::span<float> scratch, uint8_t* target) const;
  // Those of this row, with positions as if it were row `target_row`, appended.
  void AppendExceptions(size_t row, size_t target_row, std::vector<PlaneException>& target) const;

 private:
  struct Range {
    size_t begin = 0;
    size_t end = 0;
  };
  PlaneException ExceptionAt(size_t index) const;
  Range ExceptionsOf(size_t row) const;

  ElementType type_;
  uint32_t width_;
  size_t row_bytes_;
  ByteSpan rows_;
  ByteSpan exceptions_;
  PlaneScales scales_;
  std::shared_ptr<const uint8_t[]> owned_;
};

}  // namespace afterimage::block
