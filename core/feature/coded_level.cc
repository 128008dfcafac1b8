#include "core/feature/coded_level.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block_layout.h"
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
  if (type == ElementType::kPacked4) return RowScale::kPacked4;
  if (type == ElementType::kPacked5) return RowScale::kPacked5;
  if (type == ElementType::kPacked6) return RowScale::kPacked6;
  return type == ElementType::kI8 && IsEzq(codec) ? RowScale::kEzq : RowScale::kI8x;
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
  if (coded.scale_ == RowScale::kEzq) coded.ezq_step_ = EzqStep1024(block.codec());
  coded.row_bytes_ = plane.row_bytes();
  coded.plane_ = std::make_unique<block::PlaneReader>(std::move(plane));
  return coded;
}

absl::Status CodedLevel::CopyRows(std::span<const uint16_t> rows, std::span<uint8_t> target) const {
  const auto absent = std::ranges::find_if(rows, [this](uint16_t row) { return row >= num_rows_; });
  if (absent != rows.end())
    return absl::InvalidArgumentError(absl::StrCat("row ", *absent, " of a plane of ", num_rows_, " rows"));
  const size_t count = rows.empty() ? num_rows_ : rows.size();
  if (target.size() != count * row_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("room for ", target.size(), " bytes, ", count, " rows of ",
                                                   row_bytes_, " are asked for"));
  }
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

}  // namespace afterimage
