#include "core/analysis/pca.h"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatRowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Rows that are converted to double at a time.
constexpr Eigen::Index kBlockRows = 512;

Eigen::Map<const FloatRowMajor> AsMatrix(std::span<const float> rows, size_t width) {
  if (width == 0 || rows.size() % width != 0) std::abort();  // a broken invariant of the caller's
  return {rows.data(), static_cast<Eigen::Index>(rows.size() / width), static_cast<Eigen::Index>(width)};
}

}  // namespace

PcaAccumulator::PcaAccumulator(uint32_t width)
    : width_(width), sum_(width, 0.0), outer_(size_t{width} * width, 0.0) {}

void PcaAccumulator::Add(std::span<const float> rows) {
  const auto matrix = AsMatrix(rows, width_);
  if (matrix.rows() == 0) return;
  // Shifted by the first row, so that a large mean does not cancel the variance away.
  if (shift_.empty()) shift_.assign(rows.begin(), rows.begin() + width_);
  const Eigen::Map<const Eigen::RowVectorXd> shift(shift_.data(), width_);
  Eigen::Map<Eigen::RowVectorXd> sum(sum_.data(), width_);
  Eigen::Map<RowMajor> outer(outer_.data(), width_, width_);
  for (Eigen::Index begin = 0; begin < matrix.rows(); begin += kBlockRows) {
    const Eigen::Index count = std::min(kBlockRows, matrix.rows() - begin);
    const RowMajor block = matrix.middleRows(begin, count).cast<double>().rowwise() - shift;
    sum += block.colwise().sum();
    outer.selfadjointView<Eigen::Upper>().rankUpdate(block.transpose());
  }
  num_rows_ += static_cast<uint64_t>(matrix.rows());
}

absl::StatusOr<Pca> PcaAccumulator::Finish(uint32_t num_components) const {
  if (num_rows_ < 2) {
    return absl::FailedPreconditionError(absl::StrCat("principal components need at least 2 rows, there are ", num_rows_));
  }
  if (num_components > width_) {
    return absl::InvalidArgumentError(
        absl::StrCat(num_components, " components were asked for, the features have only ", width_, " channels"));
  }
  const double count = static_cast<double>(num_rows_);
  const Eigen::Map<const Eigen::VectorXd> sum(sum_.data(), width_);
  const Eigen::Map<const RowMajor> outer(outer_.data(), width_, width_);
  Eigen::MatrixXd covariance = Eigen::MatrixXd(outer.selfadjointView<Eigen::Upper>());
  covariance = (covariance - sum * sum.transpose() / count) / (count - 1);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance);
  if (solver.info() != Eigen::Success) {
    return absl::InternalError("the eigenvalue decomposition of the covariance did not converge (NaN among the features?)");
  }

  Pca pca;
  for (uint32_t i = 0; i < width_; ++i) pca.mean.push_back(shift_[i] + sum[i] / count);
  for (uint32_t i = 0; i < num_components; ++i) {
    const Eigen::Index column = width_ - 1 - i;  // Eigen sorts ascending
    Eigen::VectorXd component = solver.eigenvectors().col(column);
    Eigen::Index largest = 0;
    component.cwiseAbs().maxCoeff(&largest);
    if (component[largest] < 0) component = -component;
    pca.components.insert(pca.components.end(), component.begin(), component.end());
    pca.variances.push_back(std::max(0.0, solver.eigenvalues()[column]));
  }
  return pca;
}

std::vector<float> Project(const Pca& pca, std::span<const float> rows) {
  const Eigen::Index width = static_cast<Eigen::Index>(pca.mean.size());
  const Eigen::Index num_components = static_cast<Eigen::Index>(pca.variances.size());
  const auto matrix = AsMatrix(rows, pca.mean.size());
  const Eigen::Map<const Eigen::RowVectorXd> mean(pca.mean.data(), width);
  const Eigen::Map<const RowMajor> components(pca.components.data(), num_components, width);
  std::vector<float> coordinates(static_cast<size_t>(matrix.rows() * num_components));
  Eigen::Map<FloatRowMajor> target(coordinates.data(), matrix.rows(), num_components);
  for (Eigen::Index begin = 0; begin < matrix.rows(); begin += kBlockRows) {
    const Eigen::Index count = std::min(kBlockRows, matrix.rows() - begin);
    const RowMajor block = matrix.middleRows(begin, count).cast<double>().rowwise() - mean;
    target.middleRows(begin, count) = (block * components.transpose()).cast<float>();
  }
  return coordinates;
}

}  // namespace afterimage
