// Comparing two ways of doing one thing on a machine that is not quiet: run them in turn, look at the ratios
// of neighbours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <random>
#include <vector>

namespace afterimage::benchmarks {

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

struct PairedResult {
  double median_ratio = 0;  // of a[i] / b[i]
  double low = 0;           // bootstrap 95 % interval of that median
  double high = 0;
};

// `a[i]` and `b[i]` were measured right after each other. Percentile bootstrap with a fixed seed: the same
// input gives the same interval.
inline PairedResult ComparePaired(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  constexpr int kResamples = 10'000;
  std::mt19937_64 random(1);
  std::vector<double> medians;
  std::vector<double> resample(ratios.size());
  for (int i = 0; i < kResamples; ++i) {
    for (double& value : resample) value = ratios[random() % ratios.size()];
    medians.push_back(Median(resample));
  }
  std::sort(medians.begin(), medians.end());
  return {Median(ratios), medians[kResamples * 25 / 1000], medians[kResamples * 975 / 1000]};
}

}  // namespace afterimage::benchmarks
