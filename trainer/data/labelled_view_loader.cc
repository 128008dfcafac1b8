#include "trainer/data/labelled_view_loader.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/identity/image_key.h"
#include "core/image/decode.h"
#include "core/view/view.h"
#include "trainer/data/augment/augment_random.h"

namespace afterimage::trainer {
namespace {

size_t ViewBytes(uint32_t size) { return size_t{3} * size * size; }

uint64_t StepsPerEpoch(const ImageSource& source, const LabelledViewLoader::Options& options,
                       const SlotRange& pass) {
  if (!options.one_pass) return source.size() / options.batch_size;
  return (pass.end - pass.begin + options.batch_size - 1) / options.batch_size;
}

}  // namespace

LabelledViewLoader::LabelledViewLoader(const ImageSource* source, Options options)
    : source_(source),
      options_(std::move(options)),
      pass_(SlotsOfRank(options_.slice, source->size())),
      places_(options_.one_pass ? std::vector<uint32_t>()
                                : PlacesOfRank(options_.slice, options_.batch_size)),
      steps_per_epoch_(StepsPerEpoch(*source, options_, pass_)),
      slots_(options_.num_batches),
      next_to_fill_(options_.first_step),
      next_to_give_(options_.first_step) {}

absl::StatusOr<std::unique_ptr<LabelledViewLoader>> LabelledViewLoader::Open(const ImageSource* source,
                                                                             Options options) {
  AFTERIMAGE_RETURN_IF_ERROR(options.view.Validate());
  if (options.batch_size == 0 || (!options.one_pass && source->size() < options.batch_size)) {
    return absl::InvalidArgumentError(
        absl::StrCat(source->Description(), " has fewer pictures than a batch of ", options.batch_size));
  }
  if (!options.one_pass) AFTERIMAGE_RETURN_IF_ERROR(CheckLabelled(*source));
  auto loader = std::unique_ptr<LabelledViewLoader>(new LabelledViewLoader(source, std::move(options)));
  for (int i = 0; i < loader->options_.num_threads; ++i)
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
  batch.places = places_;
  if (options_.one_pass) {
    batch.places.resize(std::min<uint64_t>(options_.batch_size, pass_.end - pass_.begin - first));
    std::iota(batch.places.begin(), batch.places.end(), 0);
  }
  batch.size = batch.places.size();
  batch.pixels.resize(batch.size * ViewBytes(options_.view.size));
  batch.labels.resize(batch.size);
  batch.indices.resize(batch.size);
  batch.erasures.assign(batch.size, std::nullopt);
  batch.made_in = {};
  for (size_t place = 0; place < batch.size; ++place) {
    const uint64_t at = first + batch.places[place];
    const size_t index =
        options_.one_pass ? pass_.begin + at : PermuteIndex(at, source_->size(), options_.seed, epoch);
    batch.indices[place] = index;
    batch.labels[place] = source_->entry(index).label.value_or(-1);
    AFTERIMAGE_RETURN_IF_ERROR(
        WithContext(FillView(index, static_cast<uint32_t>(epoch), place, batch), source_->entry(index).name));
  }
  return absl::OkStatus();
}

// Reads, decodes, makes the view, augments it.
absl::Status LabelledViewLoader::FillView(size_t index, uint32_t epoch, size_t place, Batch& batch) const {
  const ViewSpec& spec = options_.view;
  const ViewAugmentation& augmentation = options_.augmentation;
  const auto random = [&](AugmentPurpose purpose) {
    return AugmentRandom(options_.seed, epoch, static_cast<uint32_t>(index), purpose);
  };
  const absl::Time begin = absl::Now();
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string encoded, source_->Read(index));
  const absl::Time read = absl::Now();
  batch.made_in[StallPart::kDisk] += read - begin;
  AFTERIMAGE_ASSIGN_OR_RETURN(const RgbImage image, DecodeImage(AsBytes(encoded)));
  const ImageKey key = ImageKey::OfEncodedImage(AsBytes(encoded));
  const uint32_t view_seed = random(AugmentPurpose::kView).Next32();
  AFTERIMAGE_ASSIGN_OR_RETURN(
      View view, MakeView(image, spec, DrawViewGeometry(key, spec, view_seed, image.width, image.height)));
  RgbImage pixels = std::move(view.pixels);
  if (augmentation.rand_augment.has_value()) {
    pixels = augmentation.rand_augment->Apply(std::move(pixels), augmentation.fill,
                                              random(AugmentPurpose::kRandAugment));
  }
  std::memcpy(batch.pixels.data() + place * ViewBytes(spec.size), pixels.pixels.data(), pixels.pixels.size());
  if (augmentation.erasing > 0) {
    batch.erasures[place] = DrawErasure(augmentation.erasing, spec.size, random(AugmentPurpose::kErasing));
  }
  batch.made_in[StallPart::kDecode] += absl::Now() - read;
  return absl::OkStatus();
}

void LabelledViewLoader::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] {
      return stopping_ || !HasStep(next_to_fill_) || !slots_[next_to_fill_ % slots_.size()].taken;
    });
    if (stopping_ || !HasStep(next_to_fill_)) return;
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
  if (!HasStep(next_to_give_)) return nullptr;
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

absl::Status CheckLabelled(const ImageSource& source) {
  for (size_t i = 0; i < source.size(); ++i) {
    if (source.entry(i).label.has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        source.Description(), ": ", source.entry(i).name,
        " has no label; every picture needs one, from a folder per class, NAME.cls beside NAME.jpg "
        "in a tar, or a labels file beside an idx file"));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> PlacesOfRank(const RankSlice& slice, uint64_t batch) {
  const SlotRange pairs = SlotsOfRank(slice, (batch + 1) / 2);
  std::vector<uint32_t> places;
  for (uint64_t p = pairs.begin; p < pairs.end; ++p) places.push_back(static_cast<uint32_t>(p));
  for (uint64_t p = pairs.end; p > pairs.begin; --p) {
    const uint64_t mirror = batch - p;  // of place p - 1
    if (mirror != p - 1) places.push_back(static_cast<uint32_t>(mirror));
  }
  return places;
}

ViewSpec EvaluationView(uint32_t size) {
  ViewSpec spec;
  spec.crop = ViewSpec::Crop::kResizeCenterCrop;
  spec.size = size;
  spec.resize_shorter = size <= 64 ? size : size * 256 / 224;
  return spec;
}

absl::Status ForEachEvaluationBatch(const ImageSource& source, uint32_t size, int num_threads,
                                    const std::function<absl::Status(const LabelledViewLoader::Batch&)>& use,
                                    const RankSlice& slice) {
  LabelledViewLoader::Options options;
  options.slice = slice;
  options.view = EvaluationView(size);
  options.num_threads = num_threads;
  options.one_pass = true;
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto loader, LabelledViewLoader::Open(&source, options));
  while (true) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const LabelledViewLoader::Batch* batch, loader->Next());
    if (batch == nullptr) return absl::OkStatus();
    AFTERIMAGE_RETURN_IF_ERROR(use(*batch));
    loader->Release(batch);
  }
}

}  // namespace afterimage::trainer
