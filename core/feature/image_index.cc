#include "core/feature/image_index.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/image/decode.h"

namespace afterimage {

absl::StatusOr<std::unique_ptr<ImageIndex>> ImageIndex::Build(std::shared_ptr<const ImageSource> source, int num_threads,
                                                              const std::function<bool(size_t done)>& progress) {
  const size_t size = source->size();
  std::vector<ImageKey> keys(size);
  std::atomic<size_t> next{0};
  std::atomic<size_t> done{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  absl::Status error;

  // Each thread takes small runs of neighbours, so that a tar is read nearly in order.
  constexpr size_t kRun = 16;
  auto work = [&](bool reports) {
    while (!stop.load(std::memory_order_relaxed)) {
      const size_t begin = next.fetch_add(kRun);
      if (begin >= size) return;
      const size_t end = std::min(size, begin + kRun);
      for (size_t i = begin; i < end; ++i) {
        absl::StatusOr<std::string> encoded = source->Read(i);
        if (!encoded.ok()) {
          std::lock_guard lock(mutex);
          if (error.ok()) error = WithContext(encoded.status(), source->entry(i).name);
          stop = true;
          return;
        }
        keys[i] = ImageKey::OfEncodedImage(AsBytes(*encoded));
      }
      const size_t now = done.fetch_add(end - begin) + (end - begin);
      if (reports && progress && !progress(now)) {
        std::lock_guard lock(mutex);
        if (error.ok()) error = absl::CancelledError("stopped while hashing the images");
        stop = true;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < num_threads; ++i) threads.emplace_back(work, false);
  work(true);
  for (std::thread& thread : threads) thread.join();
  AFTERIMAGE_RETURN_IF_ERROR(error);
  if (progress && !progress(size)) return absl::CancelledError("stopped while hashing the images");

  auto index = std::unique_ptr<ImageIndex>(new ImageIndex);
  index->manifest_ = Manifest::FromOccurrences(keys);
  if (!source->class_names().empty()) {
    std::vector<int32_t> labels(size);
    for (size_t i = 0; i < size; ++i) labels[i] = source->entry(i).label.value_or(-1);
    index->labels_ = LabelTable::FromOccurrences(index->manifest_, keys, labels, source->class_names());
  }
  std::vector<uint32_t> by_key(size);
  std::iota(by_key.begin(), by_key.end(), 0u);
  std::stable_sort(by_key.begin(), by_key.end(), [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
  index->source_index_.reserve(index->manifest_.num_keys());
  for (size_t i = 0; i < size; ++i) {
    if (i == 0 || keys[by_key[i]] != keys[by_key[i - 1]]) index->source_index_.push_back(by_key[i]);
  }
  index->source_ = std::move(source);
  return index;
}

absl::StatusOr<std::string> ImageIndex::ReadEncoded(const ImageKey& key) const {
  const std::vector<ImageKey>& keys = manifest_.keys();
  const auto found = std::lower_bound(keys.begin(), keys.end(), key);
  if (found == keys.end() || *found != key) {
    return absl::NotFoundError(absl::StrCat("image ", key.Hex(), " is not in ", source_->Description()));
  }
  const uint32_t at = source_index_[found - keys.begin()];
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string encoded, source_->Read(at));
  if (ImageKey::OfEncodedImage(AsBytes(encoded)) != key) {
    return absl::DataLossError(absl::StrCat(source_->entry(at).name, " has changed since it was hashed as ", key.Hex(),
                                            ": run the command again to index it anew"));
  }
  return encoded;
}

absl::StatusOr<RgbImage> ImageIndex::ReadImage(const ImageKey& key) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string encoded, ReadEncoded(key));
  return DecodeImage(AsBytes(encoded));
}

std::string ImageIndex::NameOf(const ImageKey& key) const {
  const std::vector<ImageKey>& keys = manifest_.keys();
  const auto found = std::lower_bound(keys.begin(), keys.end(), key);
  if (found == keys.end() || *found != key) return "";
  return source_->entry(source_index_[found - keys.begin()]).name;
}

}  // namespace afterimage
