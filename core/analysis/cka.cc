#include "core/analysis/cka.h"

#include <Eigen/Dense>
#include <cmath>

namespace afterimage {

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

CkaAccumulator::CkaAccumulator(uint32_t width_a, uint32_t width_b)
    : width_a_(width_a),
      width_b_(width_b),
      sum_(width_a + width_b),
      outer_(size_t{width_a + width_b} * (width_a + width_b)) {}

void CkaAccumulator::Add(std::span<const float> rows_a, std::span<const float> rows_b) {
  const Eigen::Index rows = static_cast<Eigen::Index>(rows_a.size() / width_a_);
  const Eigen::Index width = static_cast<Eigen::Index>(sum_.size());
  if (rows == 0) return;
  RowMatrix both(rows, width);
  using Floats = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
  both.leftCols(width_a_) = Floats(rows_a.data(), rows, width_a_).cast<double>();
  both.rightCols(width_b_) = Floats(rows_b.data(), rows, width_b_).cast<double>();
  if (shift_.empty()) shift_.assign(both.data(), both.data() + width);
  both.rowwise() -= Eigen::Map<const Eigen::RowVectorXd>(shift_.data(), width);
  Eigen::Map<Eigen::RowVectorXd>(sum_.data(), width) += both.colwise().sum();
  Eigen::Map<RowMatrix>(outer_.data(), width, width).noalias() += both.transpose() * both;
  num_rows_ += static_cast<uint64_t>(rows);
}

double CkaAccumulator::Value() const {
  if (num_rows_ < 2) return 0;
  const Eigen::Index width = static_cast<Eigen::Index>(sum_.size());
  const Eigen::Map<const Eigen::RowVectorXd> sum(sum_.data(), width);
  const RowMatrix centred = Eigen::Map<const RowMatrix>(outer_.data(), width, width) -
                            sum.transpose() * sum / static_cast<double>(num_rows_);
  const double across = centred.topRightCorner(width_a_, width_b_).squaredNorm();
  const double within =
      centred.topLeftCorner(width_a_, width_a_).norm() * centred.bottomRightCorner(width_b_, width_b_).norm();
  return within > 0 ? across / within : 0;
}

}  // namespace afterimage
