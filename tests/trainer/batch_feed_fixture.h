// A feed over a small cache in memory.
#pragma once

#include <ATen/ATen.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/in_memory_epoch_source.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"
#include "tests/trainer/small_world.h"
#include "trainer/data/batch_feed.h"

namespace afterimage::trainer::testing {

// Goes away after a number of frames, and refuses the next few tries to open it.
class FlakySource : public EpochSource {
 public:
  FlakySource(EpochSource* source, int frames_before, int failed_opens)
      : source_(source), frames_left_(frames_before), failed_opens_(failed_opens) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    if (frames_left_ <= 0 && failed_opens_-- > 0) return absl::UnavailableError("connection refused");
    auto stream = source_->Open(request);
    if (!stream.ok()) return stream.status();
    return std::make_unique<Stream>(this, *std::move(stream));
  }

 private:
  class Stream : public EpochStream {
   public:
    Stream(FlakySource* owner, std::unique_ptr<EpochStream> stream)
        : owner_(owner), stream_(std::move(stream)) {}
    absl::StatusOr<std::optional<EpochFrame>> Next() override {
      if (owner_->frames_left_-- == 0) return absl::UnavailableError("the server has gone");
      return stream_->Next();
    }
    void ReturnCredit(uint64_t bytes) override { stream_->ReturnCredit(bytes); }
    void Cancel() override { stream_->Cancel(); }

   private:
    FlakySource* const owner_;
    const std::unique_ptr<EpochStream> stream_;
  };
  EpochSource* const source_;
  std::atomic<int> frames_left_;
  std::atomic<int> failed_opens_;
};

class BatchFeedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteImages((folder_ / "images").string());
    WriteTeacher((folder_ / "teacher.safetensors").string());
    TeacherOptions options;
    options.weights = (folder_ / "teacher.safetensors").string();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto teacher, TeacherRunner::Load(options));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::shared_ptr<const ImageSource> source,
                                    OpenImageSource((folder_ / "images").string()));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(index_, ImageIndex::Build(source, 1));
    description_ = DescribeSet(*teacher, TokenPolicy::kAll, Codec::kF32);
    ASSERT_THAT(FillCache(catalog_, *teacher, *index_, description_, 2), afterimage::testing::IsOk());
  }

  BatchFeed::Options Options(uint64_t num_steps) {
    BatchFeed::Options options;
    options.request.set_id = description_.set.Id();
    options.request.order = {.manifest = index_->manifest().digest(),
                             .num_occurrences = index_->manifest().num_occurrences(),
                             .num_view_seeds = 2,
                             .mask = {.num_visible = 5}};
    options.request.global_batch = 5;
    options.request.selection.tokens = Selection::Tokens::kMask;
    options.num_steps = num_steps;
    options.shape = {.batch = 5, .num_visible = 5, .patch_size = 3, .teachers = {{16, {2, 3}}}};
    options.first_wait = absl::Milliseconds(1);
    options.longest_wait = absl::Milliseconds(4);
    options.message = [this](const std::string& text) {
      std::lock_guard lock(mutex_);
      messages_.push_back(text);
    };
    return options;
  }

  // What a feed gave: epoch, step, digest sum and first target of every batch.
  absl::StatusOr<std::vector<std::string>> Drain(EpochSource& source, BatchFeed::Options options) {
    BatchFeed feed(&source, std::move(options));
    std::vector<std::string> batches;
    while (true) {
      const absl::StatusOr<TrainingBatch*> batch = feed.Next();
      if (!batch.ok()) return batch.status();
      if (*batch == nullptr) return batches;
      batches.push_back(absl::StrCat((*batch)->epoch, "/", (*batch)->step, " ", (*batch)->size, " ",
                                     (*batch)->sum.low, " ", (*batch)->targets[1].sum().item<double>(), " ",
                                     (*batch)->pixels.sum().item<int64_t>(), " ", (*batch)->num_skipped));
      feed.Release(*batch);
    }
  }

  const afterimage::testing::TemporaryFolder folder_;
  InMemoryFeatureCatalog catalog_;
  InMemoryEpochSource source_{&catalog_};
  std::unique_ptr<ImageIndex> index_;
  SetDescription description_;
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

}  // namespace afterimage::trainer::testing
