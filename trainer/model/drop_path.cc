#include "trainer/model/drop_path.h"

#include <ATen/ATen.h>

#include <numeric>
#include <vector>

#include "core/view/philox.h"

namespace afterimage::trainer {

at::Tensor DropPathFactors(double rate, int64_t depth, std::span<const uint32_t> samples, uint64_t seed,
                           uint64_t step) {
  if (rate == 0.0) return {};
  const int64_t batch = static_cast<int64_t>(samples.size());
  at::Tensor factors = at::empty({depth, 2, batch}, at::kFloat);
  float* out = factors.data_ptr<float>();
  const std::array<uint32_t, 2> key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int64_t block = 0; block < depth; ++block) {
    const double drop = depth > 1 ? rate * static_cast<double>(block) / static_cast<double>(depth - 1) : 0.0;
    const float survivor = static_cast<float>(1.0 / (1.0 - drop));
    for (int64_t sample = 0; sample < batch; ++sample) {
      // One block of four words serves both branches of a sample in a block of the network.
      const auto words = Philox4x32({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32),
                                     samples[sample], static_cast<uint32_t>(block)},
                                    key);
      for (int64_t branch = 0; branch < 2; ++branch) {
        const bool dropped = words[branch] * 0x1p-32 < drop;
        out[(block * 2 + branch) * batch + sample] = dropped ? 0.0f : survivor;
      }
    }
  }
  return factors;
}

at::Tensor DropPathFactors(double rate, int64_t depth, int64_t batch, uint64_t seed, uint64_t step) {
  std::vector<uint32_t> samples(batch);
  std::iota(samples.begin(), samples.end(), 0u);
  return DropPathFactors(rate, depth, samples, seed, step);
}

at::Tensor DropPathFactorsOfDraws(double rate, const at::Tensor& keep) {
  const int64_t depth = keep.size(0);
  at::Tensor factors = keep.clone();
  for (int64_t block = 1; block < depth; ++block) {
    // The reference's rates are float32 numbers.
    const float drop = static_cast<float>(rate) * static_cast<float>(block) / static_cast<float>(depth - 1);
    factors.select(0, block).div_(1.0 - static_cast<double>(drop));
  }
  return factors;
}

}  // namespace afterimage::trainer
