// Named tensors against those of a reference, with the tolerance that the reference states.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/vit/vit.h"

namespace afterimage::trainer {

// Of a tensor's largest value, where nothing else is said: in float64, of outputs that were computed in
// float64 and rounded to float32; in float32 (tests/golden/README.md).
inline constexpr double kSharpTolerance = 4e-7;
inline constexpr double kSingleTolerance = 1e-5;

struct CompareOptions {
  bool in_double = false;      // the precision of what is compared
  std::optional<double> rtol;  // of each tensor's largest value, instead of all other rules
};

struct ComparedTensor {
  std::string name;
  double difference = 0;  // largest absolute one; infinite where shapes differ or a value is no number
  double largest = 0;     // of the reference, absolute
  double tolerance = 0;   // absolute
  std::string problem;    // beyond numbers: another shape
  bool within() const { return problem.empty() && difference <= tolerance; }
};

struct Comparison {
  std::vector<ComparedTensor> tensors;    // by name, numbers in it counted
  std::vector<std::string> not_computed;  // outputs and gradients of the reference that were not computed

  int num_outside() const;
  // A row per tensor: largest difference, the same relative to the largest value, tolerance. Then what was
  // not computed.
  std::string Text() const;
};

// Compares `tensors` with those of the same name among "output.*" and "grad.*" of the file. Tolerance:
// `rtol`; else in float32 the "atol" that NAME.json beside NAME.safetensors has for the tensor ("tensors" ->
// name -> "atol"); else kSharpTolerance or kSingleTolerance. Whole numbers must be equal. Errors of
// SafetensorsFile::Open; InvalidArgument: the file has none of them, or the JSON cannot be read.
absl::StatusOr<Comparison> CompareTensors(const ParameterMap& tensors, const std::string& reference,
                                          const CompareOptions& options);

}  // namespace afterimage::trainer
