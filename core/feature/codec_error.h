// What a codec costs and what it loses, measured on records.
#pragma once

#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/profile.h"

namespace afterimage {

// Of one level, or of all. A token's values are those of its row.
struct CodecError {
  uint64_t num_values = 0;
  uint64_t num_bytes = 0;  // planes and exceptions
  uint64_t num_planes = 0;
  uint64_t num_fallback_planes = 0;  // of i8x, stored as f16
  double square_sum = 0;             // of the errors
  double largest = 0;                // error, in magnitude
  double worst_cosine = 1;           // of any token, with what comes back of it

  double BytesPerValue() const;
  double Rmse() const;
  void Merge(const CodecError& other);
};

// Encodes and decodes records, and compares. Not thread-safe.
class CodecMeter {
 public:
  // `profile`: null where the codec needs none; must outlive this.
  CodecMeter(Codec codec, const FeatureProfile* profile) : codec_(codec), profile_(profile) {}

  // Errors of EncodeFeatureBlock.
  absl::Status Add(const FeatureRecord& record);

  Codec codec() const { return codec_; }
  const std::map<uint32_t, CodecError>& levels() const { return levels_; }
  CodecError Total() const;
  uint64_t num_records() const { return num_records_; }
  // Whole blocks, everything in.
  double BytesPerRecord() const;

 private:
  const Codec codec_;
  const FeatureProfile* const profile_;
  std::map<uint32_t, CodecError> levels_;
  uint64_t num_records_ = 0;
  uint64_t block_bytes_ = 0;
};

}  // namespace afterimage
