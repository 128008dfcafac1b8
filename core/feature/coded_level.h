// Rows of one level of a feature block as they are coded, copied into the caller's memory without being
// decoded: what goes to a device, which dequantises them itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/feature/decode_rows.h"
#include "core/feature/feature_block.h"

namespace afterimage {

// The rows of a level, verified. The value of a channel of a row follows from the row's bytes and ScaleTables
// of the level (DecodeValue), but for the row's exceptions, which are kept apart. Codecs of whole planes are
// decoded to rows when the level is opened: ezq to its int8, lossless16 to the f16 (bf16) that it is.
// Movable, thread-safe for reading; block, bytes and profile must outlive it.
class CodedLevel {
 public:
  // NotFound: the level is not in the block. FailedPrecondition: the block is coded with a profile, and none
  // or another was given to Parse (both told). DataLoss: a section fails its checks.
  static absl::StatusOr<CodedLevel> Open(const FeatureBlock& block, uint32_t level);
  CodedLevel(CodedLevel&&) noexcept;
  CodedLevel& operator=(CodedLevel&&) noexcept;
  ~CodedLevel();

  uint32_t num_rows() const { return num_rows_; }
  uint32_t width() const { return width_; }  // values of a row
  // Of all its rows: not always those of the block's codec, since a plane with many exceptions is stored as
  // f16.
  RowCode code() const { return code_; }
  RowScale scale() const { return scale_; }
  uint16_t ezq_step() const { return ezq_step_; }  // as CodedRow has it
  size_t row_bytes() const { return row_bytes_; }

  // The rows one after the other, rows.size() x row_bytes() bytes; `rows` are row numbers of the plane (0 …
  // num_rows() - 1), empty = all. InvalidArgument: a row that is not there, another size of `target`.
  absl::Status CopyRows(std::span<const uint16_t> rows, std::span<uint8_t> target) const;
  // Those of one row, ascending by channel, appended. `row` below num_rows().
  void AppendExceptions(size_t row, std::vector<CodedException>& target) const;

 private:
  CodedLevel();

  uint32_t num_rows_ = 0;
  uint32_t width_ = 0;
  RowCode code_ = RowCode::kF32;
  RowScale scale_ = RowScale::kI8x;
  uint16_t ezq_step_ = 0;
  size_t row_bytes_ = 0;
  std::unique_ptr<block::PlaneReader> plane_;
};

}  // namespace afterimage
