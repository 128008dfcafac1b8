// Comparing runs of different numbers of ranks.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "trainer/checkpoint/checkpoint.h"

namespace afterimage::trainer::testing {

inline Checkpoint LastCheckpoint(const std::string& folder) {
  auto checkpoint = ReadCheckpoint(LatestCheckpoint(folder).value_or(""));
  EXPECT_THAT(checkpoint.status(), afterimage::testing::IsOk());
  return checkpoint.ok() ? *std::move(checkpoint) : Checkpoint{};
}

// Of tensors that are equal but for rounding. The bias of the keys is left out: attention does not depend on
// it, its gradient is rounding noise, and Adam makes steps of full length of that.
inline void ExpectClose(const ParameterMap& tensors, const ParameterMap& wanted, double relative,
                        double absolute, const std::string& what) {
  const auto determined = [](const std::string& name, const at::Tensor& tensor) {
    if (!name.ends_with(".attn.qkv.bias")) return tensor;
    const std::vector<at::Tensor> parts = tensor.chunk(3);
    return at::cat({parts[0], parts[2]});
  };
  ASSERT_EQ(tensors.size(), wanted.size()) << what;
  for (const auto& [name, tensor] : wanted) {
    EXPECT_TRUE(
        at::allclose(determined(name, tensors.at(name)), determined(name, tensor), relative, absolute))
        << what << " " << name;
  }
}

}  // namespace afterimage::trainer::testing
