#include "core/feature/codec_error.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "core/base/status_macros.h"
#include "core/base/thread_cpu_time.h"
#include "core/feature/feature_block.h"

namespace afterimage {
namespace {

// Adds one token's values and what came back of them.
void AddRow(std::span<const float> exact, std::span<const float> decoded, CodecError& error) {
  double dot = 0, exact_squares = 0, decoded_squares = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double a = exact[i], b = decoded[i];
    error.square_sum += (a - b) * (a - b);
    error.largest = std::max(error.largest, std::abs(a - b));
    dot += a * b;
    exact_squares += a * a;
    decoded_squares += b * b;
  }
  const double length = std::sqrt(exact_squares * decoded_squares);
  // Of a token without length there is no angle.
  if (!(length > 0)) return;
  error.worst_cosine = std::min(error.worst_cosine, dot / length);
  error.cosine_sum += dot / length;
  ++error.num_angles;
}

}  // namespace

double CodecError::BytesPerValue() const {
  return num_values == 0 ? 0 : static_cast<double>(num_bytes) / static_cast<double>(num_values);
}

double CodecError::Rmse() const {
  return num_values == 0 ? 0 : std::sqrt(square_sum / static_cast<double>(num_values));
}

double CodecError::Rate(absl::Duration time) const {
  const double seconds = absl::ToDoubleSeconds(time);
  return seconds > 0 ? 2.0 * static_cast<double>(num_values) / seconds : 0;
}

void CodecError::AddRows(std::span<const float> exact, std::span<const float> decoded, size_t width) {
  num_values += exact.size();
  for (size_t at = 0; at < exact.size(); at += width) {
    AddRow(exact.subspan(at, width), decoded.subspan(at, width), *this);
  }
}

void CodecError::Merge(const CodecError& other) {
  num_values += other.num_values;
  num_bytes += other.num_bytes;
  num_planes += other.num_planes;
  num_fallback_planes += other.num_fallback_planes;
  square_sum += other.square_sum;
  largest = std::max(largest, other.largest);
  worst_cosine = std::min(worst_cosine, other.worst_cosine);
  cosine_sum += other.cosine_sum;
  num_angles += other.num_angles;
  encode_time += other.encode_time;
  decode_time += other.decode_time;
}

absl::Status CodecMeter::Add(const FeatureRecord& record) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string bytes,
                              EncodeFeatureBlock(record, codec_, profile_, pixel_coding_));
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes), profile_));
  FeatureRecord one_level = record;
  one_level.pixels.clear();
  for (const LevelFeatures& level : record.levels) {
    CodecError& error = levels_[level.level];
    one_level.levels = {level};
    absl::Duration start = ThreadCpuTime();
    AFTERIMAGE_RETURN_IF_ERROR(EncodeFeatureBlock(one_level, codec_, profile_).status());
    error.encode_time += ThreadCpuTime() - start;
    std::vector<float> decoded(level.values.size());
    start = ThreadCpuTime();
    AFTERIMAGE_RETURN_IF_ERROR(block.ReadLevel(level.level, {}, decoded));
    error.decode_time += ThreadCpuTime() - start;
    error.num_bytes += block.LevelBytes(level.level);
    ++error.num_planes;
    // A coded plane is smaller than one of halves, whatever its exceptions.
    if (NeedsProfile(codec_) && block.LevelBytes(level.level) == 2 * decoded.size())
      ++error.num_fallback_planes;
    error.AddRows(level.values, decoded, level.width);
  }
  ++num_records_;
  block_bytes_ += bytes.size();
  return absl::OkStatus();
}

CodecError CodecMeter::Total() const {
  CodecError total;
  for (const auto& [level, error] : levels_) total.Merge(error);
  return total;
}

std::vector<SampledError> CodecMeter::Sampled() const {
  std::vector<SampledError> errors;
  for (const auto& [level, error] : levels_) {
    errors.push_back({level, num_records_, error.num_values, error.square_sum, error.largest});
  }
  return errors;
}

double CodecMeter::BytesPerRecord() const {
  return num_records_ == 0 ? 0 : static_cast<double>(block_bytes_) / static_cast<double>(num_records_);
}

}  // namespace afterimage
