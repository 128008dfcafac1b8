#include "core/feature/coded_batch.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr size_t kAlignment = 16;  // of a sample's rows, and of the tables: for every type of element

size_t Align(size_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

// Of a row without exceptions whose values stand alone: no row is stored larger.
size_t MostBytes(uint32_t width) { return size_t{width} * sizeof(float); }

}  // namespace

size_t CodedBatch::BytesFor(size_t num_samples, size_t rows_per_sample, uint32_t width) {
  const size_t num_rows = num_samples * rows_per_sample;
  // Each sample begins aligned, and so does the table of rows, which has one row more.
  return num_samples * (Align(rows_per_sample * MostBytes(width)) + kAlignment) +
         (num_rows + 1) * sizeof(CodedRow);
}

absl::Status CodedBatch::Put(size_t sample, const FeatureBlock& block, uint32_t level,
                             std::span<const uint16_t> rows) {
  const size_t first_row = sample * rows_per_sample_;
  if (first_row > rows_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("sample ", sample, " comes after ", rows_.size() / rows_per_sample_, " samples"));
  }
  if (first_row < rows_.size()) {
    row_bytes_end_ = rows_[first_row].offset;
    exceptions_.resize(rows_[first_row].first_exception);
    rows_.resize(first_row);
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const CodedLevel coded, CodedLevel::Open(block, level));
  const size_t count = rows.empty() ? coded.num_rows() : rows.size();
  if (count != rows_per_sample_ || coded.width() != width_) {
    return absl::InvalidArgumentError(absl::StrCat("room for ", rows_per_sample_, " rows of ", width_, ", ",
                                                   count, " of ", coded.width(), " are asked for"));
  }
  std::vector<CodedRow> added;
  std::vector<CodedException> exceptions;
  size_t row_bytes = coded.row_bytes();
  const size_t begin = Align(row_bytes_end_);
  for (size_t i = 0; i < count; ++i) {
    added.push_back({.offset = begin + i * row_bytes,
                     .first_exception = static_cast<uint32_t>(exceptions_.size() + exceptions.size()),
                     .code = coded.code(),
                     .scale = coded.scale(),
                     .ezq_step = coded.ezq_step()});
    const size_t row = rows.empty() ? i : rows[i];
    if (row < coded.num_rows()) coded.AppendExceptions(row, exceptions);  // others are refused below
  }
  const bool is_float =
      count * row_bytes + exceptions.size() * sizeof(CodedException) > count * MostBytes(width_);
  if (is_float) {
    row_bytes = MostBytes(width_);
    exceptions.clear();
    for (size_t i = 0; i < count; ++i) {
      added[i] = {.offset = begin + i * row_bytes,
                  .first_exception = static_cast<uint32_t>(exceptions_.size()),
                  .code = RowCode::kF32};
    }
  }
  const size_t end = begin + count * row_bytes;
  if (Align(end) + (rows_.size() + count + 1) * sizeof(CodedRow) +
          (exceptions_.size() + exceptions.size()) * sizeof(CodedException) >
      memory_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the memory of ", memory_.size(), " bytes is full at sample ", sample));
  }
  const std::span<uint8_t> target = memory_.subspan(begin, count * row_bytes);
  AFTERIMAGE_RETURN_IF_ERROR(is_float ? block.ReadLevelAs(Codec::kF32, level, rows, target)
                                      : coded.CopyRows(rows, target));
  rows_.insert(rows_.end(), added.begin(), added.end());
  exceptions_.insert(exceptions_.end(), exceptions.begin(), exceptions.end());
  row_bytes_end_ = end;
  return absl::OkStatus();
}

size_t CodedBatch::Seal(size_t num_samples) {
  num_rows_ = std::min(num_samples * rows_per_sample_, rows_.size());
  // The row after the last one begins where that one's exceptions end.
  CodedRow after = num_rows_ < rows_.size() ? rows_[num_rows_] : CodedRow{.offset = row_bytes_end_};
  if (num_rows_ == rows_.size()) after.first_exception = static_cast<uint32_t>(exceptions_.size());
  rows_at_ = Align(after.offset);
  exceptions_at_ = rows_at_ + (num_rows_ + 1) * sizeof(CodedRow);
  const size_t exception_bytes = after.first_exception * sizeof(CodedException);
  uint8_t* const table = memory_.data() + rows_at_;
  if (num_rows_ > 0) std::memcpy(table, rows_.data(), num_rows_ * sizeof(CodedRow));
  std::memcpy(table + num_rows_ * sizeof(CodedRow), &after, sizeof(CodedRow));
  if (exception_bytes > 0) std::memcpy(memory_.data() + exceptions_at_, exceptions_.data(), exception_bytes);
  return exceptions_at_ + exception_bytes;
}

RowsToDecode CodedBatch::View(const uint8_t* base, const ScaleView& scales) const {
  return {.bytes = base,
          .rows = reinterpret_cast<const CodedRow*>(base + rows_at_),
          .exceptions = reinterpret_cast<const CodedException*>(base + exceptions_at_),
          .num_rows = num_rows_,
          .width = width_,
          .scales = scales};
}

}  // namespace afterimage
