#include "core/feature/plane_reader.h"

#include <cmath>
#include <cstring>

#include "core/feature/feature_block_values.h"
#include "core/feature/half_rows.h"
#include "core/feature/profile.h"

namespace afterimage::block {
namespace {

static_assert(sizeof(PlaneException) == 8, "exceptions are stored as they lie in memory");

}  // namespace

absl::Status PlaneReader::CheckExceptions(ByteSpan exceptions, uint64_t num_values) {
  uint64_t lowest = 0;
  for (size_t at = 0; at < exceptions.size(); at += sizeof(PlaneException)) {
    const uint32_t position = LoadLittleEndian<uint32_t>(exceptions.data() + at);
    const float value = LoadLittleEndian<float>(exceptions.data() + at + sizeof(position));
    if (position < lowest || position >= num_values || !(std::abs(value) <= kLargestFeature)) {
      return Damaged("an exception of ", value, " at ", position, " of ", num_values, " values");
    }
    lowest = uint64_t{position} + 1;
  }
  return absl::OkStatus();
}

void PlaneReader::ReadRow(size_t row, std::span<float> target) const {
  const ByteSpan source = RowBytes(row);
  if (IsFloat(type_)) return DecodeFloats(type_, source.data(), target);
  if (type_ == ElementType::kI8) {
    DecodeI8xRow(*scales_.i8x, reinterpret_cast<const int8_t*>(source.data()), target.data());
  } else {
    DecodePackedRow(*scales_.packed, PackedBits(type_), source.data(), target.data());
  }
  const Range range = ExceptionsOf(row);
  for (size_t i = range.begin; i < range.end; ++i) {
    const PlaneException exception = ExceptionAt(i);
    target[exception.position - row * width_] = exception.value;
  }
}

size_t PlaneReader::ReadRowAs(ElementType type, size_t row, std::span<float> scratch, uint8_t* target) const {
  if (type == type_) {
    const ByteSpan source = RowBytes(row);
    std::memcpy(target, source.data(), source.size());
    return width_;
  }
  if (IsFloat(type_) || type == ElementType::kF32) {
    ReadRow(row, scratch);
    return EncodeFloats(type, scratch, target);
  }
  const auto* codes = reinterpret_cast<const int8_t*>(RowBytes(row).data());
  const I8xChannels* steps = scales_.i8x;
  if (const int bits = PackedBits(type_); bits != 0) {
    codes = UnpackRow(*scales_.packed, bits, RowBytes(row).data());
    steps = &scales_.packed->steps(bits);
  }
  type == ElementType::kF16 ? DecodeI8xRowToHalves(*steps, codes, target)
                            : DecodeI8xRowToBfloat16s(*steps, codes, target);
  const Range range = ExceptionsOf(row);
  for (size_t i = range.begin; i < range.end; ++i) {  // in range, as CheckExceptions says
    const PlaneException exception = ExceptionAt(i);
    EncodeFloats(type, {&exception.value, 1}, target + 2 * (exception.position - row * width_));
  }
  return width_;
}

void PlaneReader::AppendExceptions(size_t row, size_t target_row, std::vector<PlaneException>& target) const {
  const Range range = ExceptionsOf(row);
  for (size_t i = range.begin; i < range.end; ++i) {
    const PlaneException exception = ExceptionAt(i);
    const size_t channel = exception.position - row * width_;
    target.push_back({static_cast<uint32_t>(target_row * width_ + channel), exception.value});
  }
}

PlaneException PlaneReader::ExceptionAt(size_t index) const {
  return LoadLittleEndian<PlaneException>(exceptions_.data() + index * sizeof(PlaneException));
}

// They are sorted: two binary searches.
PlaneReader::Range PlaneReader::ExceptionsOf(size_t row) const {
  const size_t count = exceptions_.size() / sizeof(PlaneException);
  const auto first_from = [&](size_t low, uint64_t position) {
    size_t high = count;
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (ExceptionAt(middle).position < position) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  if (count == 0) return {};
  const size_t begin = first_from(0, uint64_t{row} * width_);
  return {begin, first_from(begin, (uint64_t{row} + 1) * width_)};
}

}  // namespace afterimage::block
