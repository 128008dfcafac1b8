#include "core/feature/ezq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/entropy.h"

namespace afterimage {
namespace {

std::vector<uint8_t>& Scratch(size_t size) {
  thread_local std::vector<uint8_t> bytes;
  if (bytes.size() < size) bytes.resize(size);
  return bytes;
}

// Calls `use(row, left, up)` for each patch; left and up are rows, or the patch's own where there is none.
template <typename Use>
void ForEachPatch(uint32_t grid, Use use) {
  for (size_t y = 0; y < grid; ++y) {
    for (size_t x = 0; x < grid; ++x) {
      const size_t row = 1 + y * grid + x;
      const size_t left = x > 0 ? row - 1 : row;
      const size_t up = y > 0 ? row - grid : row;
      use(row, left == row ? up : left, up == row ? left : up);
    }
  }
}

// The middle of both as int8, rounded down; of the same one twice itself. Written so that it is one average
// of unsigned bytes, which processors have, and which is rounded up.
inline uint8_t Middle(uint8_t left, uint8_t up) {
  const uint8_t a = left ^ 0x80, b = up ^ 0x80;
  const uint8_t rounded_up = static_cast<uint8_t>((a + b + 1) >> 1);
  return static_cast<uint8_t>(rounded_up - ((a ^ b) & 1)) ^ 0x80;
}

// Of a row, modulo 256, so that it can be undone; there twice, for any processor and for AVX2.
inline __attribute__((always_inline)) void SubtractMiddles(size_t width, const uint8_t* left,
                                                           const uint8_t* up, const uint8_t* source,
                                                           uint8_t* target) {
  for (size_t c = 0; c < width; ++c) target[c] = static_cast<uint8_t>(source[c] - Middle(left[c], up[c]));
}
inline __attribute__((always_inline)) void AddMiddles(size_t width, const uint8_t* left, const uint8_t* up,
                                                      uint8_t* target) {
  for (size_t c = 0; c < width; ++c) target[c] = static_cast<uint8_t>(target[c] + Middle(left[c], up[c]));
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void SubtractMiddlesWidely(size_t width, const uint8_t* left,
                                                           const uint8_t* up, const uint8_t* source,
                                                           uint8_t* target) {
  SubtractMiddles(width, left, up, source, target);
}
__attribute__((target("avx2"))) void AddMiddlesWidely(size_t width, const uint8_t* left, const uint8_t* up,
                                                      uint8_t* target) {
  AddMiddles(width, left, up, target);
}
#else
constexpr auto SubtractMiddlesWidely = SubtractMiddles;
constexpr auto AddMiddlesWidely = AddMiddles;
#endif

// The first patch has no neighbours.
void Predict(uint32_t grid, size_t width, const uint8_t* codes, uint8_t* residuals) {
  const bool wide = internal::HasWideI8x();
  std::copy_n(codes, width, residuals);
  ForEachPatch(grid, [&](size_t row, size_t left, size_t up) {
    const uint8_t* const source = codes + row * width;
    uint8_t* const target = residuals + row * width;
    if (left == row) {
      std::copy_n(source, width, target);
    } else {
      (wide ? SubtractMiddlesWidely : SubtractMiddles)(width, codes + left * width, codes + up * width,
                                                       source, target);
    }
  });
}

void Undo(uint32_t grid, size_t width, uint8_t* codes) {
  const bool wide = internal::HasWideI8x();
  ForEachPatch(grid, [&](size_t row, size_t left, size_t up) {
    if (left == row) return;
    (wide ? AddMiddlesWidely : AddMiddles)(width, codes + left * width, codes + up * width,
                                           codes + row * width);
  });
}

// Bits that an order-0 code would take, of every fourth row.
double Entropy(std::span<const uint8_t> bytes, size_t width) {
  // Four counts of each byte: equal neighbours need not wait for each other.
  std::array<std::array<uint32_t, 256>, 4> parts = {};
  size_t total = 0;
  for (size_t at = 0; at < bytes.size(); at += 4 * width) {
    const std::span<const uint8_t> row = bytes.subspan(at, width);
    size_t i = 0;
    for (; i + 4 <= width; i += 4) {
      for (size_t part = 0; part < 4; ++part) ++parts[part][row[i + part]];
    }
    for (; i < width; ++i) ++parts[0][row[i]];
    total += width;
  }
  double bits = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    const uint32_t count = parts[0][byte] + parts[1][byte] + parts[2][byte] + parts[3][byte];
    if (count > 0) bits -= count * std::log2(static_cast<double>(count) / static_cast<double>(total));
  }
  return bits;
}

}  // namespace

std::vector<float> EzqOwnSteps(const std::vector<float>& sigma) {
  std::vector<float> steps;
  for (const float deviation : sigma) steps.push_back(std::min(deviation * 8.0f / 127.0f, kEzqLargestStep));
  return steps;
}

EzqChannels::EzqChannels(std::vector<float> mean, const std::vector<float>& sigma)
    : shared_(std::make_shared<Shared>()) {
  shared_->mean = std::move(mean);
  shared_->own_steps = EzqOwnSteps(sigma);
}

const I8xChannels& EzqChannels::Of(Codec codec) const {
  const std::lock_guard lock(shared_->mutex);
  const auto [found, is_new] = shared_->made.try_emplace(codec);
  if (is_new) {
    std::vector<float> steps = shared_->own_steps;
    for (float& step : steps) step = std::max(step, EzqStep(codec));
    found->second = I8xChannels::WithSteps(shared_->mean, std::move(steps));
  }
  return found->second;
}

CodedPlane EncodeEzqPlane(const I8xChannels& channels, uint32_t grid, std::span<const float> values) {
  CodedPlane plane = EncodeI8xPlane(channels, values);
  if (plane.is_f16) return plane;
  std::span<const uint8_t> bytes(plane.bytes);
  EzqPredictor predictor = EzqPredictor::kNone;
  if (grid > 0) {
    std::vector<uint8_t>& residuals = Scratch(bytes.size());
    const size_t width = channels.mean.size();
    Predict(grid, width, bytes.data(), residuals.data());
    const std::span<const uint8_t> predicted(residuals.data(), bytes.size());
    if (Entropy(predicted, width) < Entropy(bytes, width)) {
      bytes = predicted;
      predictor = EzqPredictor::kLeftAndUp;
    }
  }
  std::vector<uint8_t> coded = {static_cast<uint8_t>(predictor)};
  AppendHuffmanFrame(bytes, coded);
  plane.bytes = std::move(coded);
  return plane;
}

absl::Status DecodeEzq(size_t width, uint32_t grid, ByteSpan bytes, std::span<uint8_t> codes) {
  if (bytes.empty()) return absl::DataLossError("ezq: no predictor");
  AFTERIMAGE_RETURN_IF_ERROR(ReadHuffmanFrame(bytes.subspan(1), codes));
  switch (static_cast<EzqPredictor>(bytes[0])) {
    case EzqPredictor::kNone:
      return absl::OkStatus();
    case EzqPredictor::kLeftAndUp:
      if (grid == 0) return absl::DataLossError("ezq: patches are predicted where not all are stored");
      Undo(grid, width, codes.data());
      return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("ezq: unknown predictor ", bytes[0]));
}

}  // namespace afterimage
