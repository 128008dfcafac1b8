// The arithmetic of ezq: one step for most channels, and an entropy coder that spends bits where the variance
// is. Private to core/feature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/feature/codec.h"
#include "core/feature/coded_plane.h"
#include "core/feature/i8x.h"

namespace afterimage {

// Values are quantised as in i8x (means of the profile, exceptions outside of -127..127 steps, float32
// without fused operations), but with other steps: d, the codec's, for every channel; 8 sigma / 127 where
// that is larger, held at kEzqLargestStep, so that the widest channels fit into bytes too. Then the plane's
// bytes go through one Huffman frame (entropy.h), as they are, or as differences from what the neighbours to
// the left and above predict, whichever takes less by the entropy of its rows.
inline constexpr float kEzqLargestStep = 0.5f;
inline constexpr float kEzqLargestError = 0.3125f;  // half of it, plus 1/16 as for i8x

inline constexpr float EzqStep(Codec codec) { return static_cast<float>(EzqStep1024(codec)) * 0x1p-10f; }

// 8 sigma / 127, held at kEzqLargestStep: the step of a channel where it is larger than the codec's.
std::vector<float> EzqOwnSteps(const std::vector<float>& sigma);

// One level's channels for each ezq codec, made when they are first asked for. Thread-safe; copies share
// them.
class EzqChannels {
 public:
  EzqChannels() = default;
  EzqChannels(std::vector<float> mean, const std::vector<float>& sigma);

  // Lives as long as this or a copy.
  const I8xChannels& Of(Codec codec) const;
  const std::vector<float>& own_steps() const { return shared_->own_steps; }

 private:
  struct Shared {
    std::vector<float> mean, own_steps;
    std::mutex mutex;
    std::map<Codec, I8xChannels> made;  // nodes stay where they are
  };
  std::shared_ptr<Shared> shared_;
};

// `grid`: patches per side where the plane's rows are the class token and then all patches, row by row; 0
// where they are not, and nothing is predicted. `bytes` of the plane: the predictor (EzqPredictor), then the
// frame.
enum class EzqPredictor : uint8_t { kNone = 0, kLeftAndUp = 1 };
CodedPlane EncodeEzqPlane(const I8xChannels& channels, uint32_t grid, std::span<const float> values);

// The int8 of rows of `width`, to be decoded as those of i8x with the channels of EzqChannels. DataLoss: an
// unknown predictor, one without its grid, a frame of another size.
absl::Status DecodeEzq(size_t width, uint32_t grid, ByteSpan bytes, std::span<uint8_t> codes);

}  // namespace afterimage
