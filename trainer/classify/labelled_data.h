// The labelled images of a run.
#pragma once

#include <c10/core/Device.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/image/image_source.h"
#include "trainer/classify/labelled_run.h"

namespace afterimage::trainer {

// Training images and, where they are given, held-out ones of the same classes. Must outlive the tasks that
// use it.
class LabelledData {
 public:
  // InvalidArgument: a picture without a label, held-out images of other classes. Errors of OpenImageSource.
  static absl::StatusOr<LabelledData> Open(const LabelledOptions& options);

  const ImageSource& train() const { return *train_; }
  const ImageSource* test() const { return test_.get(); }  // null = none
  const std::vector<std::string>& class_names() const { return train_->class_names(); }
  at::Device device() const { return device_; }

  // Makes the input of `task` augmented views for the network, and its evaluation views of the held-out
  // images, both of them this rank's part; and Describe.
  absl::Status UseViews(const LabelledOptions& options, const VitWeights& network, const RankSlice& slice,
                        LabelledTask& task) const;
  // What the task is trained on, in its config, class names and facts.
  void Describe(LabelledTask& task) const;

 private:
  std::shared_ptr<const ImageSource> train_, test_;
  at::Device device_{at::kCPU};
};

// InvalidArgument tells the first difference between the classes of `source` and `wanted`, those of `whose`.
absl::Status CheckSameClasses(const std::vector<std::string>& wanted, absl::string_view whose,
                              const ImageSource& source);

}  // namespace afterimage::trainer
