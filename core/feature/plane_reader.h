// Rows of one plane of a feature block, of whatever type. Private to core/feature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/i8x.h"

namespace afterimage::block {

// Over bytes that have been verified and that outlive it. Thread-safe.
class PlaneReader {
 public:
  // `exceptions`: as CheckExceptions has accepted them; empty for other types than kI8. `channels`: null
  // unless the type is kI8 and ReadRow is called.
  PlaneReader(ElementType type, uint32_t width, ByteSpan rows, ByteSpan exceptions,
              const I8xChannels* channels)
      : type_(type), width_(width), rows_(rows), exceptions_(exceptions), channels_(channels) {}

  // DataLoss: positions not ascending or not below `num_values`, a value that is not finite or beyond
  // kLargestFeature.
  static absl::Status CheckExceptions(ByteSpan exceptions, uint64_t num_values);

  ElementType type() const { return type_; }
  // As stored.
  ByteSpan bytes() const { return rows_; }
  ByteSpan RowBytes(size_t row) const;
  // Decoded into `width` floats.
  void ReadRow(size_t row, std::span<float> target) const;
  // Those of this row, with positions as if it were row `target_row`, appended.
  void AppendExceptions(size_t row, size_t target_row, std::vector<I8xException>& target) const;

 private:
  struct Range {
    size_t begin = 0;
    size_t end = 0;
  };
  I8xException ExceptionAt(size_t index) const;
  Range ExceptionsOf(size_t row) const;

  ElementType type_;
  uint32_t width_;
  ByteSpan rows_;
  ByteSpan exceptions_;
  const I8xChannels* channels_;
};

}  // namespace afterimage::block
