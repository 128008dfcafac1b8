#include "core/analysis/knn.h"

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"

namespace afterimage {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Blocks of similarities: 128 x 2048 floats, 1 MiB per thread.
constexpr Eigen::Index kTestRows = 128;
constexpr Eigen::Index kTrainRows = 2048;

struct Neighbour {
  float similarity;
  Eigen::Index row;

  // Nearer first; a heap ordered by it has the farthest neighbour on top.
  bool operator<(const Neighbour& other) const {
    return similarity != other.similarity ? similarity > other.similarity : row < other.row;
  }
};

absl::StatusOr<Matrix> NormalizedRows(std::span<const float> values, uint32_t width, absl::string_view name) {
  if (width == 0 || values.size() % width != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", values.size(), " values, which are no whole rows of width ", width));
  }
  Matrix rows = Eigen::Map<const Matrix>(values.data(), static_cast<Eigen::Index>(values.size() / width), width);
  for (Eigen::Index i = 0; i < rows.rows(); ++i) {
    const double norm = rows.row(i).cast<double>().norm();
    if (!std::isfinite(norm)) {
      return absl::InvalidArgumentError(absl::StrCat(name, " row ", i, " has a NaN or infinite value"));
    }
    if (norm > 0) rows.row(i) *= static_cast<float>(1 / norm);
  }
  return rows;
}

absl::Status CheckLabels(std::span<const int32_t> labels, Eigen::Index num_rows, uint32_t num_classes,
                         absl::string_view name) {
  if (labels.size() != static_cast<size_t>(num_rows)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " has ", num_rows, " rows, but ", labels.size(), " labels"));
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || static_cast<uint32_t>(labels[i]) >= num_classes) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " row ", i, " has the label ", labels[i], ", must be in 0..", int64_t{num_classes} - 1));
    }
  }
  return absl::OkStatus();
}

// Classifies blocks of test rows; Classify may be called from several threads.
class Classifier {
 public:
  Classifier(const Matrix& train, std::span<const int32_t> labels, uint32_t num_classes, std::span<const uint32_t> ks,
             double temperature)
      : train_(train),
        labels_(labels),
        num_classes_(num_classes),
        ks_(ks),
        k_(std::min<size_t>(*std::ranges::max_element(ks), static_cast<size_t>(train.rows()))),
        temperature_(temperature) {}

  // The classes of row `first` + i of the whole test set with k = ks[j] go to classes[j][first + i].
  void Classify(const Eigen::Ref<const Matrix>& test, size_t first, std::vector<std::vector<int32_t>>& classes) const {
    std::vector<std::vector<Neighbour>> heaps(static_cast<size_t>(test.rows()));
    Matrix similarities;
    for (Eigen::Index begin = 0; begin < train_.rows(); begin += kTrainRows) {
      const Eigen::Index count = std::min(kTrainRows, train_.rows() - begin);
      similarities.noalias() = test * train_.middleRows(begin, count).transpose();
      for (Eigen::Index i = 0; i < test.rows(); ++i) {
        for (Eigen::Index j = 0; j < count; ++j) Offer({similarities(i, j), begin + j}, heaps[i]);
      }
    }
    for (size_t i = 0; i < heaps.size(); ++i) {
      std::sort_heap(heaps[i].begin(), heaps[i].end());  // a fixed order of summation
      for (size_t j = 0; j < ks_.size(); ++j) {
        const std::span<const Neighbour> nearest(heaps[i].data(), std::min<size_t>(ks_[j], heaps[i].size()));
        classes[j][first + i] = Vote(nearest);
      }
    }
  }

 private:
  void Offer(const Neighbour& candidate, std::vector<Neighbour>& heap) const {
    if (heap.size() == k_) {
      if (!(candidate < heap.front())) return;
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back(candidate);
    std::push_heap(heap.begin(), heap.end());
  }

  int32_t Vote(std::span<const Neighbour> neighbours) const {
    std::vector<double> votes(num_classes_, 0.0);
    for (const Neighbour& neighbour : neighbours) {
      // Relative to the nearest, so that a low temperature does not overflow.
      const double difference = double{neighbour.similarity} - neighbours.front().similarity;
      votes[static_cast<size_t>(labels_[neighbour.row])] += std::exp(difference / temperature_);
    }
    return static_cast<int32_t>(std::max_element(votes.begin(), votes.end()) - votes.begin());
  }

  const Matrix& train_;
  const std::span<const int32_t> labels_;
  const uint32_t num_classes_;
  const std::span<const uint32_t> ks_;
  const size_t k_;  // the largest of them
  const double temperature_;
};

}  // namespace

absl::StatusOr<std::vector<int32_t>> KnnClassify(std::span<const float> train, std::span<const int32_t> train_labels,
                                                 std::span<const float> test, uint32_t width, uint32_t num_classes,
                                                 const KnnOptions& options) {
  const uint32_t ks[] = {options.k};
  AFTERIMAGE_ASSIGN_OR_RETURN(auto classes,
                              KnnClassifyForEach(train, train_labels, test, width, num_classes, ks, options));
  return std::move(classes.front());
}

absl::StatusOr<std::vector<std::vector<int32_t>>> KnnClassifyForEach(
    std::span<const float> train, std::span<const int32_t> train_labels, std::span<const float> test, uint32_t width,
    uint32_t num_classes, std::span<const uint32_t> ks, const KnnOptions& options) {
  if (ks.empty()) return absl::InvalidArgumentError("there is no k");
  for (const uint32_t k : ks) {
    if (k == 0 || !(options.temperature > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("k is ", k, " and the temperature ", options.temperature, "; both must be positive"));
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const Matrix train_rows, NormalizedRows(train, width, "train"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const Matrix test_rows, NormalizedRows(test, width, "test"));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabels(train_labels, train_rows.rows(), num_classes, "train"));
  if (train_rows.rows() == 0) return absl::InvalidArgumentError("there are no training rows");

  std::vector<std::vector<int32_t>> classes(ks.size(), std::vector<int32_t>(static_cast<size_t>(test_rows.rows())));
  const Classifier classifier(train_rows, train_labels, num_classes, ks, options.temperature);
  std::atomic<Eigen::Index> next_row = 0;
  const auto work = [&] {
    while (true) {
      const Eigen::Index begin = next_row.fetch_add(kTestRows);
      if (begin >= test_rows.rows() || StopRequested()) return;
      classifier.Classify(test_rows.middleRows(begin, std::min(kTestRows, test_rows.rows() - begin)),
                          static_cast<size_t>(begin), classes);
    }
  };
  const uint32_t num_threads =
      options.num_threads != 0 ? options.num_threads : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (uint32_t i = 1; i < num_threads; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (StopRequested()) return absl::CancelledError("stopped while neighbours were searched");
  return classes;
}

absl::StatusOr<std::vector<double>> KnnAccuracies(std::span<const float> train, std::span<const int32_t> train_labels,
                                                  std::span<const float> test, std::span<const int32_t> test_labels,
                                                  uint32_t width, uint32_t num_classes, std::span<const uint32_t> ks,
                                                  const KnnOptions& options) {
  if (test_labels.empty()) return absl::InvalidArgumentError("there are no test rows");
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto classes,
                              KnnClassifyForEach(train, train_labels, test, width, num_classes, ks, options));
  AFTERIMAGE_RETURN_IF_ERROR(
      CheckLabels(test_labels, static_cast<Eigen::Index>(classes.front().size()), num_classes, "test"));
  std::vector<double> accuracies;
  for (const std::vector<int32_t>& of_k : classes) {
    size_t num_right = 0;
    for (size_t i = 0; i < of_k.size(); ++i) num_right += of_k[i] == test_labels[i] ? 1 : 0;
    accuracies.push_back(static_cast<double>(num_right) / static_cast<double>(of_k.size()));
  }
  return accuracies;
}

}  // namespace afterimage
