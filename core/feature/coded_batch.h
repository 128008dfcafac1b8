// One level of a batch of samples, coded, in one piece of memory: what is uploaded to a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/feature/coded_level.h"
#include "core/feature/decode_rows.h"

namespace afterimage {

// The rows of each sample are gathered into the caller's memory (page-locked, where it is to be copied to a
// GPU); a table of the rows and their exceptions follow when the batch is complete, so that one copy takes
// all of it. The rows of different samples may be coded differently. One thread at a time.
class CodedBatch {
 public:
  // Memory that is enough for any samples of `rows_per_sample` rows of `width` values, however they are
  // coded.
  static size_t BytesFor(size_t num_samples, size_t rows_per_sample, uint32_t width);

  CodedBatch() = default;
  // `memory` must outlive it; at least BytesFor the samples that are put in, aligned to 16 bytes.
  CodedBatch(std::span<uint8_t> memory, size_t rows_per_sample, uint32_t width)
      : memory_(memory), rows_per_sample_(rows_per_sample), width_(width) {}

  uint32_t width() const { return width_; }

  // Makes `rows` of a level (empty = all of the block) those of sample number `sample`, 0 for the first; it
  // and those after it are forgotten before. Samples are put in ascending. Rows that would take more than
  // float32 with their exceptions are stored as that. InvalidArgument: another number of rows or width.
  // FailedPrecondition: a sample is left out, or the memory is full. Further errors: those of
  // CodedLevel::Open.
  absl::Status Put(size_t sample, const FeatureBlock& block, uint32_t level, std::span<const uint16_t> rows);

  // Completes the memory with the first `num_samples` samples, at most as many as were put in. Returns how
  // many bytes of it are to be copied.
  size_t Seal(size_t num_samples);
  // After Seal: the arguments that decode a copy of the memory at `base`, aligned to 16 bytes. It is not
  // looked at, and may be memory of a device.
  RowsToDecode View(const uint8_t* base, const ScaleView& scales) const;

 private:
  std::span<uint8_t> memory_;
  size_t rows_per_sample_ = 0;
  uint32_t width_ = 0;
  std::vector<CodedRow> rows_;  // so far
  std::vector<CodedException> exceptions_;
  size_t row_bytes_end_ = 0;  // of the rows' bytes in the memory
  size_t num_rows_ = 0;       // after Seal
  size_t rows_at_ = 0;
  size_t exceptions_at_ = 0;
};

}  // namespace afterimage
