#include "trainer/data/labelled_view_loader.h"

#include <atomic>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/identity/image_key.h"
#include "core/image/decode.h"
#include "core/order/order_spec.h"
#include "core/view/view.h"

namespace afterimage::trainer {
namespace {

// Reads, decodes, makes the view of `view_seed`, writes its pixels to `target`.
absl::Status WriteView(const ImageSource& source, size_t index, const ViewSpec& spec, uint32_t view_seed,
                       uint8_t* target) {
  const auto view = [&]() -> absl::StatusOr<View> {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string encoded, source.Read(index));
    AFTERIMAGE_ASSIGN_OR_RETURN(const RgbImage image, DecodeImage(AsBytes(encoded)));
    const ImageKey key = ImageKey::OfEncodedImage(AsBytes(encoded));
    return MakeView(image, spec, DrawViewGeometry(key, spec, view_seed, image.width, image.height));
  }();
  if (!view.ok()) return WithContext(view.status(), source.entry(index).name);
  std::memcpy(target, view->pixels.pixels.data(), view->pixels.pixels.size());
  return absl::OkStatus();
}

size_t ViewBytes(uint32_t size) { return size_t{3} * size * size; }

}  // namespace

LabelledViewLoader::LabelledViewLoader(const ImageSource* source, Options options)
    : source_(source),
      options_(options),
      steps_per_epoch_(source->size() / options.batch_size),
      slots_(options.num_batches),
      next_to_fill_(options.first_step),
      next_to_give_(options.first_step) {}

absl::StatusOr<std::unique_ptr<LabelledViewLoader>> LabelledViewLoader::Open(const ImageSource* source,
                                                                             Options options) {
  AFTERIMAGE_RETURN_IF_ERROR(options.view.Validate());
  if (options.batch_size == 0 || source->size() < options.batch_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(source->Description(), " has fewer pictures than a batch of ", options.batch_size));
  }
  for (size_t i = 0; i < source->size(); ++i) {
    if (!source->entry(i).label.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source->Description(), ": ", source->entry(i).name,
                       " has no label; supervised training needs one for every picture"));
    }
  }
  auto loader = std::unique_ptr<LabelledViewLoader>(new LabelledViewLoader(source, options));
  for (Slot& slot : loader->slots_) {
    slot.batch.pixels.resize(options.batch_size * ViewBytes(options.view.size));
    slot.batch.labels.resize(options.batch_size);
  }
  for (int i = 0; i < options.num_threads; ++i)
    loader->threads_.emplace_back([raw = loader.get()] { raw->Work(); });
  return loader;
}

LabelledViewLoader::~LabelledViewLoader() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status LabelledViewLoader::Fill(uint64_t step, Batch& batch) const {
  const uint64_t epoch = step / steps_per_epoch_;
  const uint64_t first = step % steps_per_epoch_ * options_.batch_size;
  batch.step = step;
  for (uint64_t i = 0; i < options_.batch_size; ++i) {
    const size_t index = PermuteIndex(first + i, source_->size(), options_.seed, epoch);
    AFTERIMAGE_RETURN_IF_ERROR(WriteView(*source_, index, options_.view, static_cast<uint32_t>(epoch),
                                         batch.pixels.data() + i * ViewBytes(options_.view.size)));
    batch.labels[i] = *source_->entry(index).label;
  }
  return absl::OkStatus();
}

void LabelledViewLoader::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !slots_[next_to_fill_ % slots_.size()].taken; });
    if (stopping_) return;
    const uint64_t step = next_to_fill_++;
    Slot& slot = slots_[step % slots_.size()];
    slot.taken = true;
    lock.unlock();
    absl::Status status = Fill(step, slot.batch);
    lock.lock();
    slot.status = std::move(status);
    slot.ready = true;
    changed_.notify_all();
  }
}

absl::StatusOr<const LabelledViewLoader::Batch*> LabelledViewLoader::Next() {
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[next_to_give_ % slots_.size()];
  changed_.wait(lock, [&] { return slot.ready; });
  if (!slot.status.ok()) return slot.status;
  ++next_to_give_;
  return &slot.batch;
}

void LabelledViewLoader::Release(const Batch* batch) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[batch->step % slots_.size()];
  slot.ready = false;
  slot.taken = false;
  changed_.notify_all();
}

absl::StatusOr<EvaluationViews> LoadEvaluationViews(const ImageSource& source, uint32_t size,
                                                    int num_threads) {
  ViewSpec spec;
  spec.crop = ViewSpec::Crop::kResizeCenterCrop;
  spec.size = size;
  // 256 / 224 of the crop for photographs; pictures of about the network's own size are taken whole.
  spec.resize_shorter = size <= 64 ? size : size * 256 / 224;
  EvaluationViews views;
  views.count = source.size();
  views.size = size;
  views.pixels.resize(views.count * ViewBytes(size));
  views.labels.resize(views.count);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  absl::Status status;
  auto work = [&] {
    for (size_t i = next++; i < views.count; i = next++) {
      views.labels[i] = source.entry(i).label.value_or(-1);
      const absl::Status mine = WriteView(source, i, spec, 0, views.pixels.data() + i * ViewBytes(size));
      if (mine.ok()) continue;
      std::lock_guard lock(mutex);
      status = mine;
      next = views.count;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < num_threads; ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  AFTERIMAGE_RETURN_IF_ERROR(status);
  return views;
}

}  // namespace afterimage::trainer
