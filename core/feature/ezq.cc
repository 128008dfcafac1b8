#include "core/feature/ezq.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/entropy.h"
#include "core/feature/neighbours.h"

namespace afterimage {
namespace {

std::vector<uint8_t>& Scratch(size_t size) {
  thread_local std::vector<uint8_t> bytes;
  if (bytes.size() < size) bytes.resize(size);
  return bytes;
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
    PredictFromNeighbours(grid, width, bytes.data(), residuals.data());
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
      AddNeighbours(grid, width, codes.data());
      return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("ezq: unknown predictor ", bytes[0]));
}

}  // namespace afterimage
