#include "trainer/classify/labelled_input.h"

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/testing/memory_image_source.h"
#include "tests/testing/status_matchers.h"

namespace afterimage::trainer {
namespace {

// Labelled pictures on a disk that takes this long for each.
class SlowImageSource : public ImageSource {
 public:
  explicit SlowImageSource(absl::Duration delay) : delay_(delay) {}

  size_t size() const override { return pictures_->size(); }
  ImageEntry entry(size_t index) const override {
    ImageEntry entry = pictures_->entry(index);
    entry.label = static_cast<int64_t>(index % 2);
    return entry;
  }
  const std::vector<std::string>& class_names() const override { return pictures_->class_names(); }
  absl::StatusOr<std::string> Read(size_t index) const override {
    absl::SleepFor(delay_);
    return pictures_->Read(index);
  }
  std::string Description() const override { return "slow pictures"; }

 private:
  const absl::Duration delay_;
  const std::shared_ptr<afterimage::testing::MemoryImageSource> pictures_ =
      afterimage::testing::MemoryImageSource::WithPictures(8);
};

TEST(LabelledInputTest, AWaitForASlowDiskIsTheDisksAndNoLongerThanItWas) {
  constexpr absl::Duration kDelay = absl::Milliseconds(100);
  const SlowImageSource source(kDelay);
  LabelledViewLoader::Options options;
  options.view = EvaluationView(8);
  options.batch_size = 3;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const PixelScaling scaling,
                                  ScalingOf({"0.500,0.500,0.500", "0.500,0.500,0.500"}, at::kCPU));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto input, OpenViewInput(&source, options, scaling));
  AFTERIMAGE_ASSERT_OK(input->Begin(0));
  const absl::Time begin = absl::Now();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const LabelledBatch batch, input->Next());
  EXPECT_LE(batch.waited.Total(), absl::Now() - begin);
  EXPECT_GT(batch.waited[StallPart::kDisk], kDelay);  // of three; some may have been read before
  EXPECT_GT(batch.waited[StallPart::kDisk], batch.waited[StallPart::kDecode]);
}

}  // namespace
}  // namespace afterimage::trainer
