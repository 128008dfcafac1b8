#include "trainer/classify/labelled_data.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/vit/teacher_batches.h"
#include "trainer/classify/labelled_input.h"

namespace afterimage::trainer {
namespace {

// timm's fill: the pixel mean as bytes.
absl::StatusOr<RgbPixel> MeanPixel(const PixelNorm& pixels) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const at::Tensor mean, ParseTriple(pixels.mean));
  RgbPixel pixel;
  for (size_t c = 0; c < pixel.size(); ++c) {
    const double value = std::nearbyint(255.0 * static_cast<double>(mean.const_data_ptr<float>()[c]));
    pixel[c] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
  }
  return pixel;
}

}  // namespace

absl::Status CheckSameClasses(const std::vector<std::string>& wanted, absl::string_view whose,
                              const ImageSource& source) {
  const std::vector<std::string>& classes = source.class_names();
  if (classes == wanted) return absl::OkStatus();
  const auto at = [](const std::vector<std::string>& names, size_t i) {
    return i < names.size() ? absl::StrCat("\"", names[i], "\"") : std::string("none");
  };
  size_t first = 0;
  while (first < std::min(classes.size(), wanted.size()) && classes[first] == wanted[first]) ++first;
  return absl::InvalidArgumentError(absl::StrCat(
      "the classes of ", source.Description(), " are not those of ", whose, ": it has ", classes.size(),
      ", wanted are ", wanted.size(), "; number ", first, " is ", at(classes, first), ", wanted is ",
      at(wanted, first), ". Give images with the same class folders or names"));
}

absl::StatusOr<LabelledData> LabelledData::Open(const LabelledOptions& options) {
  LabelledData data;
  const absl::StatusOr<at::Device> device = ParseDevice(options.device);
  if (!device.ok()) return WithContext(device.status(), "--device");
  data.device_ = *device;
  AFTERIMAGE_ASSIGN_OR_RETURN(data.train_, OpenImageSource(options.images, options.limit));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*data.train_));
  if (options.test_images.empty()) return data;
  AFTERIMAGE_ASSIGN_OR_RETURN(data.test_, OpenImageSource(options.test_images));
  AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*data.test_));
  AFTERIMAGE_RETURN_IF_ERROR(CheckSameClasses(data.class_names(), data.train_->Description(), *data.test_));
  return data;
}

absl::Status LabelledData::UseViews(const LabelledOptions& options, const VitWeights& network,
                                    const RankSlice& slice, LabelledTask& task) const {
  Describe(task);
  const auto size = static_cast<uint32_t>(network.config.image_size);
  AFTERIMAGE_ASSIGN_OR_RETURN(const RgbPixel fill, MeanPixel(network.pixels));
  AFTERIMAGE_ASSIGN_OR_RETURN(LabelledViewLoader::Options views, TrainingViews(options, size, fill));
  views.slice = slice;
  AFTERIMAGE_ASSIGN_OR_RETURN(const PixelScaling scaling, ScalingOf(network.pixels, device_));
  AFTERIMAGE_ASSIGN_OR_RETURN(task.input, OpenViewInput(train_.get(), views, scaling));
  if (test_ == nullptr) return absl::OkStatus();
  task.evaluate = EvaluationOfViews(test_.get(), size, static_cast<int64_t>(class_names().size()),
                                    options.view_threads, scaling, slice);
  return absl::OkStatus();
}

void LabelledData::Describe(LabelledTask& task) const {
  task.class_names = class_names();
  task.config["classes"] = class_names();
  task.config["num_images"] = train_->size();
  task.about["images"] = train_->Description();
  if (test_ != nullptr) task.about["test_images_from"] = test_->Description();
}

}  // namespace afterimage::trainer
