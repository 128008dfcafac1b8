#include "core/feature/coded_level.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/ezq.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/feature_block_values.h"
#include "core/feature/plane_reader.h"

namespace afterimage {
namespace {

using block::ElementType;

// Of a type that has rows.
RowCode CodeOf(ElementType type) {
  switch (type) {
    case ElementType::kF16:
      return RowCode::kF16;
    case ElementType::kBf16:
      return RowCode::kBf16;
    case ElementType::kI8:
      return RowCode::kI8;
    case ElementType::kPacked4:
      return RowCode::kPacked4;
    case ElementType::kPacked5:
      return RowCode::kPacked5;
    case ElementType::kPacked6:
      return RowCode::kPacked6;
    default:
      return RowCode::kF32;
  }
}

RowScale ScaleOf(ElementType type, Codec codec) {
  if (block::PackedBits(type) != 0) return RowScale::kPacked;
  if (type != ElementType::kI8 || !IsEzq(codec)) return RowScale::kI8x;
  return static_cast<RowScale>(static_cast<size_t>(RowScale::kEzq32) + EzqIndex(codec));
}

ElementType TypeOf(FloatType type) {
  return type == FloatType::kF32   ? ElementType::kF32
         : type == FloatType::kF16 ? ElementType::kF16
                                   : ElementType::kBf16;
}

}  // namespace

CodedLevel::CodedLevel() = default;
CodedLevel::CodedLevel(CodedLevel&&) noexcept = default;
CodedLevel& CodedLevel::operator=(CodedLevel&&) noexcept = default;
CodedLevel::~CodedLevel() = default;

absl::StatusOr<CodedLevel> CodedLevel::Open(const FeatureBlock& block, uint32_t level) {
  AFTERIMAGE_ASSIGN_OR_RETURN(block::PlaneReader plane, block.OpenPlane(level, /*decodes=*/true));
  CodedLevel coded;
  coded.num_rows_ = block.num_tokens();
  coded.width_ = block.width();
  coded.code_ = CodeOf(plane.type());
  coded.scale_ = ScaleOf(plane.type(), block.codec());
  coded.row_bytes_ = block::RowElements(plane.type(), block.width()) * block::ElementBytes(plane.type());
  coded.plane_ = std::make_unique<block::PlaneReader>(std::move(plane));
  return coded;
}

absl::StatusOr<size_t> CodedLevel::CheckRows(std::span<const uint16_t> rows, size_t target_bytes,
                                             size_t row_bytes) const {
  const auto absent = std::ranges::find_if(rows, [this](uint16_t row) { return row >= num_rows_; });
  if (absent != rows.end())
    return absl::InvalidArgumentError(absl::StrCat("row ", *absent, " of a plane of ", num_rows_, " rows"));
  const size_t count = rows.empty() ? num_rows_ : rows.size();
  if (target_bytes == count * row_bytes) return count;
  return absl::InvalidArgumentError(
      absl::StrCat("room for ", target_bytes, " bytes, ", count, " rows of ", row_bytes, " are asked for"));
}

absl::Status CodedLevel::CopyRows(std::span<const uint16_t> rows, std::span<uint8_t> target) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const size_t count, CheckRows(rows, target.size(), row_bytes_));
  if (rows.empty()) {
    std::ranges::copy(plane_->bytes(), target.begin());
    return absl::OkStatus();
  }
  for (size_t i = 0; i < count; ++i)
    std::ranges::copy(plane_->RowBytes(rows[i]), target.begin() + static_cast<ptrdiff_t>(i * row_bytes_));
  return absl::OkStatus();
}

void CodedLevel::AppendExceptions(size_t row, std::vector<CodedException>& target) const {
  std::vector<PlaneException> of_row;
  plane_->AppendExceptions(row, /*target_row=*/0, of_row);
  for (const PlaneException& exception : of_row) target.push_back({exception.position, exception.value});
}

absl::Status CodedLevel::Decode(std::span<const uint16_t> rows, FloatType type,
                                std::span<uint8_t> target) const {
  const size_t target_row_bytes = width_ * FloatBytes(type);
  AFTERIMAGE_ASSIGN_OR_RETURN(const size_t count, CheckRows(rows, target.size(), target_row_bytes));
  std::vector<float> values(width_);
  for (size_t i = 0; i < count; ++i) {
    const size_t row = rows.empty() ? i : rows[i];
    plane_->ReadRow(row, values);
    const size_t bad = block::EncodeFloats(TypeOf(type), values, target.data() + i * target_row_bytes);
    if (bad == width_) continue;
    return absl::FailedPreconditionError(absl::StrCat("row ", row, ", channel ", bad, " is ", values[bad],
                                                      ": beyond the range of ",
                                                      type == FloatType::kF16 ? "f16" : "bf16"));
  }
  return absl::OkStatus();
}

}  // namespace afterimage
