#include "trainer/data/feature_input.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "trainer/data/derived_pixels.h"
#include "trainer/data/live_teacher_source.h"
#include "trainer/data/miss_computing_source.h"
#include "trainer/loss/level_weights.h"

namespace afterimage::trainer {
namespace {

constexpr double kRecipeMaskRatio = 0.7;  // maskalign.md section 1.8
constexpr absl::Duration kWaitAtStart = absl::Minutes(1);  // a server that restarts is back by then

// True when it is time to try again; false when a server has been waited for long enough, or a stop is
// requested.
bool WaitForServer(const FeatureInputOptions& options, const absl::Status& status, absl::Time since,
                   absl::Time& next_message) {
  constexpr absl::Duration kPause = absl::Seconds(1), kBetweenMessages = absl::Seconds(10);
  const absl::Duration wait = options.server_timeout.value_or(kWaitAtStart);
  if (absl::Now() + kPause > since + wait) return false;
  if (absl::Now() >= next_message) {
    std::fprintf(stderr, "waiting since %s for a server, for at most %s (%s)\n",
                 absl::FormatTime("%H:%M:%S", since, absl::LocalTimeZone()).c_str(),
                 absl::FormatDuration(wait).c_str(), std::string(status.message()).c_str());
    next_message = absl::Now() + kBetweenMessages;
  }
  return !WaitForStop(static_cast<int>(absl::ToInt64Milliseconds(kPause)));
}

// To four decimals; 0.2 is the 1/5 of ViewSpec, and has its feature id.
Ratio AreaRatio(double area) {
  constexpr uint32_t kUnit = 10000;
  return {static_cast<uint32_t>(std::llround(area * kUnit)), kUnit};
}

// The crops that a teacher sees are chosen where it runs.
absl::Status CheckCrops(const FeatureInputOptions& options) {
  if (!options.min_area.has_value()) return absl::OkStatus();
  if (!options.cache.empty() || !options.like.empty()) {
    return absl::InvalidArgumentError(
        "--min-area: the views of a cache are fixed when it is filled; say it to afterimage-precompute, or "
        "train with "
        "--teacher and without --like");
  }
  if (!options.min_area->is_constant() && !options.fresh) {
    return absl::InvalidArgumentError(
        absl::StrCat("--min-area ", options.min_area->Text(),
                     ": crops that change over the epochs need --fresh, since without it "
                     "the views of the first epochs come again"));
  }
  return absl::OkStatus();
}

// Cache, teacher, or with --miss compute both.
absl::Status CheckOrigin(const FeatureInputOptions& options) {
  const bool cache = !options.cache.empty(), teacher = !options.teacher.weights.empty();
  if (options.compute_misses) {
    if (!cache || !teacher || options.images.empty()) {
      return absl::InvalidArgumentError(
          "--miss compute makes what a cache lacks: it needs --cache ADDRESS, the --teacher FILE with which "
          "it was filled, and --images SOURCE");
    }
    if (options.sets.size() > 1) {
      return absl::InvalidArgumentError(
          "--miss compute has one teacher, and there is more than one --set: use --miss wait or skip");
    }
    return absl::OkStatus();
  }
  if (cache != teacher) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "features come either from --cache ADDRESS or from --teacher FILE with --images SOURCE: give one of "
      "the two (both with --miss compute, for what the cache lacks)");
}

}  // namespace

absl::StatusOr<std::unique_ptr<FeatureInput>> FeatureInput::Open(const FeatureInputOptions& options) {
  AFTERIMAGE_RETURN_IF_ERROR(CheckOrigin(options));
  if (options.access.HasAny() && options.cache.empty() && options.like.empty()) {
    return absl::InvalidArgumentError(
        "--token-file and the --tls- flags are for the server of a cache, and none is read");
  }
  AFTERIMAGE_RETURN_IF_ERROR(CheckCrops(options));
  auto input = std::unique_ptr<FeatureInput>(new FeatureInput);
  AFTERIMAGE_RETURN_IF_ERROR(options.cache.empty() ? input->OpenLive(options)
                                                   : input->OpenFromCache(options));
  return input;
}

absl::Status FeatureInput::OpenFromCache(const FeatureInputOptions& options) {
  if (options.fresh)
    return absl::InvalidArgumentError(
        "--fresh needs a live teacher (--teacher): a cache has the views that it has");
  const absl::Time since = absl::Now();
  absl::Time next_message = since;
  absl::Status status = TakeSets(options);
  while (absl::IsUnavailable(status) && WaitForServer(options, status, since, next_message))
    status = TakeSets(options);
  if (absl::IsUnavailable(status) && StopRequested())
    return absl::CancelledError("stopped while waiting for a server");
  AFTERIMAGE_RETURN_IF_ERROR(status);
  source_ = cache_.epoch_source.get();
  const auto name = [](const SetDescription& description) {
    return absl::StrCat(description.set.Id().Hex().substr(0, 12), " (codec ",
                        CodecName(description.set.codec), ")");
  };
  summary_ = absl::StrCat("set ", name(description_));
  for (const SetDescription& further : further_descriptions_)
    absl::StrAppend(&summary_, " and ", name(further));
  absl::StrAppend(&summary_, " of ", cache_.address, ", ", order_.num_occurrences, " pictures, ",
                  order_.num_view_seeds, " view seeds");
  if (options.compute_misses) AFTERIMAGE_RETURN_IF_ERROR(ComputeMisses(options));
  if (description_.set.pixels) return absl::OkStatus();

  if (options.images.empty()) {
    return absl::InvalidArgumentError(
        "the set holds no pixels: give the images with --images, from which the views are made again");
  }
  if (images_ == nullptr) AFTERIMAGE_RETURN_IF_ERROR(IndexImages(options));
  pixels_ = [this](const RecordKey& key, const FeatureBlock& block, std::span<const uint16_t> patches,
                   std::span<uint8_t> target) {
    return DerivePixels(*images_, description_.feature.view, key, block, patches, target);
  };
  return absl::OkStatus();
}

absl::Status FeatureInput::ComputeMisses(const FeatureInputOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(teacher_, TeacherRunner::Load(options.teacher));
  AFTERIMAGE_RETURN_IF_ERROR(IndexImages(options));
  AFTERIMAGE_RETURN_IF_ERROR(CheckImages(options.cache));
  AFTERIMAGE_ASSIGN_OR_RETURN(
      computer_, RecordComputer::Create(teacher_.get(), images_.get(), description_, profile_.get()));
  own_source_ = std::make_unique<MissComputingSource>(cache_.epoch_source.get(), computer_.get());
  source_ = own_source_.get();
  absl::StrAppend(&summary_, ", what it lacks computed by ", options.teacher.weights);
  return absl::OkStatus();
}

absl::Status FeatureInput::CheckImages(const std::string& cache) const {
  if (order_.manifest == images_->manifest().digest()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--images has manifest ", images_->manifest().digest().Hex(), ", the set of ", cache,
      " is read with manifest ", order_.manifest.Hex(), ": give the pictures that it was filled from"));
}

absl::Status FeatureInput::OpenLive(const FeatureInputOptions& options) {
  if (options.images.empty()) return absl::InvalidArgumentError("a live teacher (--teacher) needs --images");
  if (options.sets.size() > 1) {
    return absl::InvalidArgumentError(
        "several teachers come from a cache: give --cache, or one --set with --teacher");
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(teacher_, TeacherRunner::Load(options.teacher));
  AFTERIMAGE_RETURN_IF_ERROR(IndexImages(options));
  if (!options.like.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(OpenedCache like, OpenCache(options.like, {.access = options.access}));
    AFTERIMAGE_RETURN_IF_ERROR(WithContext(TakeSet(options, *like.catalog), options.like));
    description_.set.pixels = true;  // they cost a live teacher nothing
    AFTERIMAGE_RETURN_IF_ERROR(CheckImages(options.like));
  } else {
    ViewSpec view = options.view;
    view.size = teacher_->view_size();
    if (options.min_area.has_value()) view.min_area = AreaRatio(options.min_area->first);
    AFTERIMAGE_RETURN_IF_ERROR(view.Validate());
    description_.feature = MakeFeatureSpec(*teacher_, view);
    const TeacherGeometry& geometry = description_.feature.geometry;
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<double> weights,
                                LevelWeights(options.loss_weights, geometry.num_levels));
    SetSpec& set = description_.set;
    set.feature_id = description_.feature.Id();
    for (uint32_t level = 1; level <= geometry.num_levels; ++level) {
      if (weights[level - 1] != 0) set.levels.push_back(level);
    }
    set.token_policy = TokenPolicy::kAll;
    set.codec = Codec::kF32;
    order_.manifest = images_->manifest().digest();
    order_.num_occurrences = images_->manifest().num_occurrences();
    order_.num_view_seeds = 1;
  }
  AFTERIMAGE_RETURN_IF_ERROR(CompleteOrder(options));
  if (options.fresh) order_.num_view_seeds = 0;
  LiveTeacherSource::ViewOfEpoch view_of_epoch;
  if (options.min_area.has_value() && !options.min_area->is_constant()) {
    view_of_epoch = [view = description_.feature.view, area = *options.min_area,
                     epochs = options.epochs](uint64_t epoch) {
      ViewSpec spec = view;
      spec.min_area = AreaRatio(area.At(epoch, epochs));
      return spec;
    };
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(own_source_,
                              LiveTeacherSource::Create(teacher_.get(), images_.get(), description_,
                                                        std::move(view_of_epoch), profile_.get()));
  source_ = own_source_.get();
  summary_ = absl::StrCat(
      "live teacher ", options.teacher.weights, " over ", images_->source().Description(), ", ",
      options.fresh ? "a new view in every epoch" : absl::StrCat(order_.num_view_seeds, " view seeds"));
  return absl::OkStatus();
}

absl::Status FeatureInput::TakeSets(const FeatureInputOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      cache_, OpenCache(options.cache, {.access = options.access, .hedge_after = options.hedge_after}));
  AFTERIMAGE_RETURN_IF_ERROR(TakeSet(options, *cache_.catalog));
  AFTERIMAGE_RETURN_IF_ERROR(CompleteOrder(options));
  return TakeFurtherSets(options, *cache_.catalog);
}

absl::Status FeatureInput::TakeSet(const FeatureInputOptions& options, FeatureCatalog& catalog) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const SetSummary set,
                              ResolveSet(catalog, options.sets.empty() ? "" : options.sets.front()));
  AFTERIMAGE_ASSIGN_OR_RETURN(order_.manifest, ResolveManifest(catalog, set, options.manifest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto manifest, catalog.GetManifest(order_.manifest));
  description_ = set.description;
  AFTERIMAGE_ASSIGN_OR_RETURN(profile_, ProfileOfSet(catalog, description_));
  order_.num_occurrences = manifest->num_occurrences();
  num_keys_ = manifest->num_keys();
  order_.num_view_seeds = set.num_view_seeds;
  if (set.num_view_seeds == 0) {
    return absl::FailedPreconditionError(
        "the set holds no complete unit yet: wait for afterimage-precompute");
  }
  return absl::OkStatus();
}

absl::Status FeatureInput::TakeFurtherSets(const FeatureInputOptions& options, FeatureCatalog& catalog) {
  std::set<Digest256> features = {description_.set.feature_id};
  further_descriptions_.clear();
  further_profiles_.clear();
  for (size_t i = 1; i < options.sets.size(); ++i) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const SetSummary set, ResolveSet(catalog, options.sets[i]));
    if (!features.insert(set.description.set.feature_id).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--set ", options.sets[i], ": its features are those of a set that is named before it"));
    }
    AFTERIMAGE_RETURN_IF_ERROR(WithContext(CheckFurtherSet(set), absl::StrCat("--set ", options.sets[i])));
    AFTERIMAGE_ASSIGN_OR_RETURN(auto profile, ProfileOfSet(catalog, set.description));
    further_descriptions_.push_back(set.description);
    further_profiles_.push_back(std::move(profile));
  }
  return absl::OkStatus();
}

absl::Status FeatureInput::CheckFurtherSet(const SetSummary& set) const {
  const auto refuse = [](auto... parts) { return absl::FailedPreconditionError(absl::StrCat(parts...)); };
  const FeatureSpec& feature = set.description.feature;
  const ViewSpec& view = description_.feature.view;
  if (feature.view.ToCanonical() != view.ToCanonical()) {
    return refuse("its views are ", feature.view.ToCanonical().dump(), ", those of the first set ",
                  view.ToCanonical().dump(), ": all teachers must have seen the same ones");
  }
  if (feature.geometry.grid != description_.feature.geometry.grid) {
    return refuse("its grid is ", feature.geometry.grid, " x ", feature.geometry.grid,
                  ", that of the first set ", description_.feature.geometry.grid,
                  ": precompute it with another --teacher-input-size");
  }
  if (std::ranges::find(set.manifests, order_.manifest) == set.manifests.end()) {
    return refuse("it holds nothing of manifest ", order_.manifest.Hex(),
                  ", with which the first set is read");
  }
  if (set.num_view_seeds < order_.num_view_seeds) {
    return refuse("it has ", set.num_view_seeds, " view seeds, the first set ", order_.num_view_seeds,
                  ": precompute more, or give --view-seeds ", set.num_view_seeds);
  }
  const SetSpec& spec = set.description.set;
  if (spec.token_policy == TokenPolicy::kAll) return absl::OkStatus();
  MaskSpec mask = order_.mask;
  // Masks of a set of all tokens are drawn when they are wanted, whatever their number.
  if (description_.set.token_policy == TokenPolicy::kAll) mask.num_masks = spec.mask.num_masks;
  if (!DrawsSameMask(set.description) || spec.mask != mask || order_varies()) {
    return refuse("it stores the tokens of its own masks (", spec.mask.ToCanonical().dump(),
                  " from the importance of ", spec.MaskSource().Hex(),
                  "), visible are the patches of the first set's (", order_.mask.ToCanonical().dump(),
                  " from ", description_.set.MaskSource().Hex(),
                  "): precompute it with --importance-from and the same masks, or with --tokens all");
  }
  // A set of all tokens has a new mask in every pass over its view seeds, one of visible tokens M.
  const uint64_t passes = (epochs_ + order_.num_view_seeds - 1) / order_.num_view_seeds;
  if (description_.set.token_policy == TokenPolicy::kAll && passes > spec.mask.num_masks) {
    return refuse("it stores ", spec.mask.num_masks, " masks per view, ", epochs_, " epochs over ",
                  order_.num_view_seeds, " view seeds of the first set need ", passes,
                  ": precompute it with --tokens all, or the first one with --tokens visible");
  }
  return absl::OkStatus();
}

absl::Status FeatureInput::CompleteOrder(const FeatureInputOptions& options) {
  if (options.view_seeds > 0) {
    if (!options.cache.empty() && options.view_seeds > order_.num_view_seeds && !options.wait_for_records &&
        !options.compute_misses) {
      return absl::InvalidArgumentError(
          absl::StrCat("--view-seeds ", options.view_seeds, ": the set holds ", order_.num_view_seeds,
                       " (--miss wait waits for a precompute that makes more, --miss compute makes them)"));
    }
    order_.num_view_seeds = options.view_seeds;
  }
  order_.order_seed = options.order_seed;
  epochs_ = options.epochs;
  return CompleteMask(options);
}

absl::Status FeatureInput::CompleteMask(const FeatureInputOptions& options) {
  if (options.no_mask && options.mask_ratio.value_or(0.0) != LinearRange(0.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--mask-type none shows every patch, which is a --mask-ratio of 0 and not ",
                     options.mask_ratio->Text()));
  }
  const LinearRange ratio = options.no_mask ? 0.0 : options.mask_ratio.value_or(kRecipeMaskRatio);
  const uint32_t num_patches = description_.feature.geometry.num_patches();
  const uint32_t num_visible = NumVisible(num_patches, ratio.first);
  if (description_.set.token_policy == TokenPolicy::kVisible) {
    order_.mask = description_.set.mask;
    const bool other_ratio = (options.mask_ratio.has_value() || options.no_mask) &&
                             (!ratio.is_constant() || num_visible != order_.mask.num_visible);
    if (other_ratio || (options.mask_type.has_value() && *options.mask_type != order_.mask.type)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the set stores the tokens of its own masks (", order_.mask.ToCanonical().dump(), " of ",
          num_patches,
          " patches): leave out --mask-ratio and --mask-type, give its own, or use a set of all tokens"));
    }
    return absl::OkStatus();
  }
  order_.mask = MaskSpec{};
  order_.mask.type = options.mask_type.value_or(MaskSpec::Type::kAttention);
  order_.mask.num_visible = num_visible;
  order_.mask.mask_seed = options.mask_seed;
  if (!ratio.is_constant()) {
    mask_ratio_ = ratio;
  } else if (num_visible == num_patches) {
    order_.mask.type = MaskSpec::Type::kRandom;  // nothing is chosen: no importance is needed
  }
  if (num_visible == 0 || NumVisible(num_patches, ratio.last) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("no patch of ", num_patches, " is visible at a mask ratio of ", ratio.Text()));
  }
  return absl::OkStatus();
}

std::string FeatureInput::SetProgress() {
  if (cache_.catalog == nullptr) return "";
  const absl::StatusOr<std::vector<SetSummary>> sets = cache_.catalog->ListSets();
  if (!sets.ok()) return "";
  const Digest256 id = description_.set.Id();
  for (const SetSummary& set : *sets) {
    if (set.id != id) continue;
    const uint64_t done = set.num_records + set.num_failed;
    const uint64_t wanted = num_keys_ * order_.num_view_seeds;
    std::string text = absl::StrCat(done, " of ", wanted, " records are there");
    std::lock_guard lock(progress_mutex_);
    if (!first_look_.has_value()) first_look_ = {absl::Now(), done};
    const double seconds = absl::ToDoubleSeconds(absl::Now() - first_look_->first);
    const double rate = seconds > 0 ? static_cast<double>(done - first_look_->second) / seconds : 0;
    if (rate > 0 && wanted > done) {
      absl::StrAppend(&text, ", ", static_cast<uint64_t>(std::ceil(rate)), " a second, ",
                      HumanDuration(absl::Seconds(static_cast<double>(wanted - done) / rate)), " left");
    }
    return text;
  }
  return "";
}

bool FeatureInput::DrawsSameMask(const SetDescription& further) const {
  return order_.mask.type == MaskSpec::Type::kRandom ||
         further.set.MaskSource() == description_.set.MaskSource();
}

OrderSpec FeatureInput::OrderOf(uint64_t epoch) const {
  OrderSpec order = order_;
  if (mask_ratio_.has_value()) {
    order.mask.num_visible =
        NumVisible(description_.feature.geometry.num_patches(), mask_ratio_->At(epoch, epochs_));
  }
  return order;
}

uint32_t FeatureInput::most_visible() const {
  return std::max(OrderOf(0).mask.num_visible, OrderOf(epochs_ > 0 ? epochs_ - 1 : 0).mask.num_visible);
}

absl::Status FeatureInput::IndexImages(const FeatureInputOptions& options) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const ImageSource> source,
                              OpenImageSource(options.images, options.images_limit));
  Progress progress({.label = "hash images",
                     .unit = "images",
                     .total = source->size(),
                     .style = options.quiet ? Progress::Style::kSilent : Progress::Style::kAutomatic});
  AFTERIMAGE_ASSIGN_OR_RETURN(images_, ImageIndex::Build(source, options.num_threads, [&](size_t done) {
                                progress.Update(done);
                                return !StopRequested();
                              }));
  progress.Finish();
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
