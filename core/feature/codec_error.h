// What a codec costs and what it loses, measured on records.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/feature/feature_record.h"
#include "core/feature/feature_spec.h"
#include "core/feature/profile.h"
#include "core/feature/unit_writer.h"

namespace afterimage {

// Of one level, or of all. A token's values are those of its row.
class CodecError {
 public:
  uint64_t num_values = 0;
  uint64_t num_bytes = 0;  // planes and exceptions
  uint64_t num_planes = 0;
  uint64_t num_fallback_planes = 0;  // stored as f16, with too many exceptions
  double square_sum = 0;             // of the errors
  double largest = 0;                // error, in magnitude
  double worst_cosine = 1;           // of any token, with what comes back of it
  double cosine_sum = 0;             // over num_angles tokens: those that have a length
  uint64_t num_angles = 0;
  absl::Duration encode_time;  // CPU time of one thread, checksums and all
  absl::Duration decode_time;

  double BytesPerValue() const;
  double Rmse() const;
  double MeanCosine() const { return num_angles == 0 ? 1 : cosine_sum / static_cast<double>(num_angles); }
  // Bytes per second that the values would be as f16; 0: too fast to tell.
  double EncodeRate() const { return Rate(encode_time); }
  double DecodeRate() const { return Rate(decode_time); }
  void Merge(const CodecError& other);
  // Tokens of `width` values, and what came back of them.
  void AddRows(std::span<const float> exact, std::span<const float> decoded, size_t width);

 private:
  double Rate(absl::Duration time) const;
};

// Encodes and decodes records, and compares. Not thread-safe.
class CodecMeter {
 public:
  // `profile`: null where the codec needs none; must outlive this. `pixel_coding`: of the blocks whose bytes
  // are counted.
  CodecMeter(Codec codec, const FeatureProfile* profile, PixelCoding pixel_coding = PixelCoding::kRaw)
      : codec_(codec), profile_(profile), pixel_coding_(pixel_coding) {}

  // Errors of EncodeFeatureBlock.
  absl::Status Add(const FeatureRecord& record);

  Codec codec() const { return codec_; }
  const std::map<uint32_t, CodecError>& levels() const { return levels_; }
  CodecError Total() const;
  std::vector<SampledError> Sampled() const;
  uint64_t num_records() const { return num_records_; }
  // Whole blocks, everything in.
  double BytesPerRecord() const;

 private:
  const Codec codec_;
  const FeatureProfile* const profile_;
  const PixelCoding pixel_coding_;
  std::map<uint32_t, CodecError> levels_;
  uint64_t num_records_ = 0;
  uint64_t block_bytes_ = 0;
};

}  // namespace afterimage
