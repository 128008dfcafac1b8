// Where pre-training gets its features from: a cache, or a live teacher.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/open_cache.h"
#include "core/feature/feature_block.h"
#include "core/feature/image_index.h"
#include "core/order/epoch_source.h"
#include "core/order/hedge_counts.h"
#include "core/vit/teacher_runner.h"
#include "trainer/data/batch_feed.h"
#include "trainer/data/record_computer.h"
#include "trainer/optim/schedule.h"

namespace afterimage::trainer {

struct FeatureInputOptions {
  std::string cache;  // an address; then nothing else is needed
  ServerAccess access;  // to the servers of `cache` and `like`
  // How long a server that is away is waited for. Unset: a minute here, and without end once the run has
  // begun.
  std::optional<absl::Duration> server_timeout;
  std::optional<absl::Duration> hedge_after;  // as OpenCacheOptions::hedge_after
  // Aliases or ids, one per teacher; none = the only one there is. Pixels and masks are the first one's.
  std::vector<std::string> sets;
  std::string manifest;       // name or digest; empty = the only one
  Selection::Encoding wire_encoding = Selection::Encoding::kStored;  // how features travel
  std::string images;         // with a teacher; with a cache only where its records hold no pixels
  uint64_t images_limit = 0;  // take the first so many of them, as precompute's --limit; 0 = all

  TeacherOptions teacher;  // `weights` empty = from the cache
  std::string
      like;       // address of a cache whose set says views, levels, codec and manifest for the live teacher
  ViewSpec view;  // of a live teacher without `like`; its size is the teacher's
  std::string loss_weights;  // of a live teacher without `like`: the levels that it keeps
  bool fresh = false;        // a live teacher sees a new view in every epoch
  // Least share of the picture in a crop, of a live teacher without `like`, to four decimals; unset = that of
  // `view`. A range needs `fresh`.
  std::optional<LinearRange> min_area;
  uint64_t epochs = 1;  // over which ranges run

  bool wait_for_records = false;  // view_seeds may be more than the set holds so far
  // What `cache` lacks, `teacher` computes from `images`; view_seeds may be more than the set holds. One set.
  bool compute_misses = false;
  uint32_t view_seeds = 0;        // K; 0 = as many as the set has, 1 for a live teacher without `like`
  std::optional<MaskSpec::Type> mask_type;  // unset = attention; of a set of visible tokens: its own
  std::optional<LinearRange> mask_ratio;    // unset = 0.7; over the epochs
  bool no_mask = false;                     // the student sees all patches: a ratio of 0
  uint32_t mask_seed = 0;
  uint64_t order_seed = 0;
  int num_threads = 1;  // that hash images
  bool quiet = false;   // no progress while they are hashed
};

// Owns all that the epoch source needs.
class FeatureInput {
 public:
  // Errors of OpenCache, ResolveSet, TeacherRunner::Load and OpenImageSource. FailedPrecondition: images of
  // another manifest, or a teacher of another feature id, than the set's; a further set of other views, of
  // fewer view seeds, without the manifest, or of tokens that the first set's masks do not choose.
  // InvalidArgument: flags that do not go together, told with the remedy.
  static absl::StatusOr<std::unique_ptr<FeatureInput>> Open(const FeatureInputOptions& options);

  EpochSource* source() { return source_; }
  // Addresses by EpochFrame::server; none of a folder or a live teacher.
  const std::vector<std::string>& servers() const { return cache_.servers; }
  // What was read from a second server so far, by all streams of source(). Thread-safe.
  HedgeCounts hedges() const { return cache_.hedges ? cache_.hedges() : HedgeCounts(); }
  const SetDescription& description() const { return description_; }
  // Of the second teacher and those after it.
  const std::vector<SetDescription>& further_descriptions() const { return further_descriptions_; }
  // Whether a further set gives the patches of the first one's mask by itself.
  bool DrawsSameMask(const SetDescription& further) const;
  // What the blocks of a set are decoded with, of the first one and of further_descriptions()[index]; null where
  // its codec needs none.
  const FeatureProfile* profile() const { return profile_.get(); }
  const FeatureProfile* further_profile(size_t index) const { return further_profiles_[index].get(); }
  const OrderSpec& order() const { return order_; }  // of the first epoch
  // Epochs differ where the mask ratio is a range; in the number of visible patches alone.
  OrderSpec OrderOf(uint64_t epoch) const;
  bool order_varies() const { return mask_ratio_.has_value(); }
  uint32_t most_visible() const;  // of any epoch
  uint32_t num_view_seeds() const { return order_.num_view_seeds; }
  // Empty where the records hold pixels.
  const BatchFeed::PixelProvider& pixels() const { return pixels_; }
  // Of a cache, for people: "12000 of 50000 records are there, 350 a second, 2 min left". Thread-safe.
  std::string SetProgress();
  // For people: "set 1234abcd… of grpc://host:1, 8,000 pictures, 2 view seeds".
  const std::string& summary() const { return summary_; }

 private:
  FeatureInput() = default;
  absl::Status OpenFromCache(const FeatureInputOptions& options);
  absl::Status ComputeMisses(const FeatureInputOptions& options);
  absl::Status OpenLive(const FeatureInputOptions& options);
  // Opens the cache and takes what the options say of it; may be called again after an error.
  absl::Status TakeSets(const FeatureInputOptions& options);
  absl::Status TakeSet(const FeatureInputOptions& options, FeatureCatalog& catalog);
  absl::Status TakeFurtherSets(const FeatureInputOptions& options, FeatureCatalog& catalog);
  absl::Status CheckFurtherSet(const SetSummary& set) const;
  absl::Status CompleteOrder(const FeatureInputOptions& options);
  absl::Status CompleteMask(const FeatureInputOptions& options);
  // Images of another data set than the one that is read from `cache` are refused.
  absl::Status CheckImages(const std::string& cache) const;
  absl::Status IndexImages(const FeatureInputOptions& options);

  OpenedCache cache_;
  std::unique_ptr<TeacherRunner> teacher_;
  std::unique_ptr<ImageIndex> images_;
  std::unique_ptr<RecordComputer> computer_;  // of misses
  std::unique_ptr<EpochSource> own_source_;   // live teacher, or what computes misses
  EpochSource* source_ = nullptr;
  SetDescription description_;
  std::vector<SetDescription> further_descriptions_;
  std::shared_ptr<const FeatureProfile> profile_;
  std::vector<std::shared_ptr<const FeatureProfile>> further_profiles_;
  OrderSpec order_;
  uint64_t num_keys_ = 0;                  // of a cache's manifest
  std::optional<LinearRange> mask_ratio_;  // where it is no constant
  uint64_t epochs_ = 1;
  BatchFeed::PixelProvider pixels_;
  std::string summary_;
  std::mutex progress_mutex_;
  std::optional<std::pair<absl::Time, uint64_t>> first_look_;  // of SetProgress
};

}  // namespace afterimage::trainer
