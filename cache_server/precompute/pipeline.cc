#include "cache_server/precompute/pipeline.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cache_server/precompute/importance_source.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/base/version.h"
#include "core/feature/codec_error.h"
#include "core/feature/encode_for_set.h"
#include "core/feature/feature_block.h"
#include "core/feature/recode.h"
#include "core/image/decode.h"
#include "core/view/view.h"

namespace afterimage {
namespace {

// Enough to hide the jitter of one stage from the next, small enough to bound memory.
constexpr size_t kImageQueue = 64;
constexpr size_t kPublishQueue = 2;
// A partial batch runs when nothing came for so long: the claimer may be waiting for this very unit to be finished.
constexpr std::chrono::milliseconds kBatchPatience{100};
constexpr absl::Duration kTargetClaim = absl::Seconds(60);
constexpr int kLookMilliseconds = 20;

}  // namespace

PrecomputePipeline::PrecomputePipeline(OpenedSet set, const ImageIndex* images, TeacherRunner* teacher,
                                       PipelineOptions options)
    : set_(std::move(set)),
      description_(set_.store->description()),
      images_(images),
      teacher_(teacher),
      options_(std::move(options)),
      image_queue_(kImageQueue),
      view_queue_(2 * options_.views_per_call),
      encode_queue_(2 * options_.views_per_call),
      publish_queue_(kPublishQueue) {}

bool PrecomputePipeline::Stopping() const { return failed_ || StopRequested(); }

void PrecomputePipeline::Fail(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = status;
  }
  failed_ = true;
  image_queue_.Abort();
  view_queue_.Abort();
  encode_queue_.Abort();
  publish_queue_.Abort();
}

absl::StatusOr<PipelineReport> PrecomputePipeline::Run(Progress* progress) {
  const absl::Time start = absl::Now();
  AFTERIMAGE_ASSIGN_OR_RETURN(const LedgerProgress before,
                              set_.ledger->Progress(images_->manifest().digest(), options_.num_view_seeds));
  records_present_ = before.records_present;

  std::thread claimer([this] { ClaimLoop(); });
  std::thread renewer([this] { RenewLoop(); });
  std::thread publisher([this] { PublishLoop(); });
  std::vector<std::thread> decoders, encoders;
  for (int i = 0; i < std::max(1, options_.num_decode_threads); ++i) decoders.emplace_back([this] { DecodeLoop(); });
  for (int i = 0; i < std::max(1, options_.num_encode_threads); ++i) encoders.emplace_back([this] { EncodeLoop(); });

  // Each stage ends when the one before it has: its queue is closed, and drained.
  std::thread closer([&] {
    claimer.join();
    image_queue_.Close();
    for (std::thread& thread : decoders) thread.join();
    view_queue_.Close();
  });
  TeacherLoop(progress);
  closer.join();
  encode_queue_.Close();
  for (std::thread& thread : encoders) thread.join();
  publish_queue_.Close();
  publisher.join();
  finished_ = true;
  renewer.join();

  std::lock_guard lock(mutex_);
  for (const auto& unit : active_) {
    // Each call waits for a server that is away; its leases run out by themselves.
    if (absl::IsUnavailable(set_.ledger->Release(unit->lease()))) break;
  }
  report_.elapsed = absl::Now() - start;
  report_.complete = all_complete_;
  if (!error_.ok()) return error_;
  if (StopRequested() && !all_complete_) {
    return absl::CancelledError(absl::StrCat("stopped: ", report_.records, " records of ", report_.units,
                                             " units are published; run the same command again to go on"));
  }
  return report_;
}

void PrecomputePipeline::ClaimLoop() {
  const absl::Time start = absl::Now();
  uint64_t records_claimed = 0, units_claimed = 0;
  while (!Stopping()) {
    const uint64_t published = units_published_;
    ClaimRequest request;
    request.manifest = images_->manifest().digest();
    request.num_view_seeds = options_.num_view_seeds;
    request.worker = options_.worker;
    request.seed_major = options_.seed_major;
    request.lease_duration = options_.lease_duration;
    // As many consecutive units as make about a minute at the rate seen so far; one until there is a rate.
    const double rate = static_cast<double>(records_computed_) / std::max(1e-3, absl::ToDoubleSeconds(absl::Now() - start));
    const double unit_records = units_claimed == 0 ? 0 : static_cast<double>(records_claimed) / static_cast<double>(units_claimed);
    if (records_computed_ > 0 && unit_records > 0) {
      request.max_units = static_cast<uint32_t>(
          std::clamp(rate * absl::ToDoubleSeconds(kTargetClaim) / unit_records, 1.0, 16.0));
    }
    absl::StatusOr<ClaimResult> result = set_.ledger->Claim(request);
    if (!result.ok()) return Fail(WithContext(result.status(), "claim units"));
    if (result->all_complete) {
      all_complete_ = true;
      return;
    }
    if (result->units.empty()) {
      // Others have the rest, or we do: then publishing it is the news to wait for.
      const absl::Time next_look = absl::Now() + options_.wait_for_others;
      while (!Stopping() && units_published_ == published && absl::Now() < next_look) WaitForStop(kLookMilliseconds);
      continue;
    }
    // All are held before the first is fed: feeding takes as long as the teacher does, and held units are renewed.
    std::vector<std::shared_ptr<UnitInProgress>> held;
    for (ClaimedUnit& claimed : result->units) {
      records_claimed += claimed.wanted.size();
      ++units_claimed;
      absl::StatusOr<std::shared_ptr<UnitInProgress>> unit = HoldUnit(std::move(claimed));
      if (!unit.ok()) return Fail(unit.status());
      if (*unit != nullptr) held.push_back(*std::move(unit));
    }
    for (const auto& unit : held) FeedUnit(unit);
  }
}

absl::StatusOr<std::shared_ptr<UnitInProgress>> PrecomputePipeline::HoldUnit(ClaimedUnit claimed) {
  const std::string name = claimed.lease.unit.ToString();
  absl::StatusOr<std::unique_ptr<UnitWriter>> writer = set_.publisher->Open(claimed.lease);
  if (absl::IsFailedPrecondition(writer.status())) return nullptr;  // somebody else's by now
  if (!writer.ok()) return WithContext(writer.status(), absl::StrCat("open unit ", name));
  auto unit = std::make_shared<UnitInProgress>(std::move(claimed), *std::move(writer));
  std::lock_guard lock(mutex_);
  active_.push_back(unit);
  return unit;
}

void PrecomputePipeline::FeedUnit(const std::shared_ptr<UnitInProgress>& unit) {
  const std::vector<RecordKey>& wanted = unit->claimed().wanted;
  if (wanted.empty()) publish_queue_.Push(unit);
  for (size_t first = 0; first < wanted.size() && !Stopping() && !unit->abandoned();) {
    size_t end = first + 1;
    while (end < wanted.size() && wanted[end].image == wanted[first].image) ++end;
    views_underway_ += end - first;
    if (!image_queue_.Push({unit, first, end - first})) return;
    first = end;
  }
}

void PrecomputePipeline::DecodeLoop() {
  while (std::optional<ImageTask> task = image_queue_.Pop()) {
    if (Stopping()) {
      image_queue_.Abort();
      return;
    }
    if (task->unit->abandoned()) {
      views_underway_ -= task->count;
    } else {
      DecodeImageTask(*task);
    }
  }
}

void PrecomputePipeline::DecodeImageTask(const ImageTask& task) {
  const std::vector<RecordKey>& wanted = task.unit->claimed().wanted;
  const ImageKey& key = wanted[task.first].image;
  absl::StatusOr<std::string> encoded = images_->ReadEncoded(key);
  if (!encoded.ok()) return Fail(WithContext(encoded.status(), "read image"));
  absl::StatusOr<RgbImage> image = DecodeImage(AsBytes(*encoded));
  for (size_t i = 0; i < task.count; ++i) {
    const size_t index = task.first + i;
    if (!image.ok()) {
      --views_underway_;
      const std::string reason = absl::StrCat(images_->NameOf(key), ": ", image.status().message());
      if (!encode_queue_.Push({task.unit, index, {}, reason})) return;
      continue;
    }
    const ViewSpec& spec = description_.feature.view;
    const ViewGeometry geometry = DrawViewGeometry(key, spec, wanted[index].view_seed, image->width, image->height);
    absl::StatusOr<View> view = MakeView(*image, spec, geometry);
    if (!view.ok()) return Fail(WithContext(view.status(), absl::StrCat("view ", wanted[index].ToString())));
    if (!view_queue_.Push({task.unit, index, *std::move(view)})) return;
  }
}

void PrecomputePipeline::TeacherLoop(Progress* progress) {
  std::vector<ViewTask> batch;
  while (true) {
    std::optional<ViewTask> task = view_queue_.PopFor(kBatchPatience);
    if (Stopping()) break;
    if (task.has_value()) {
      --views_underway_;
      if (!task->unit->abandoned()) batch.push_back(*std::move(task));
      if (batch.size() < options_.views_per_call && views_underway_ > 0) continue;
    }
    if (!batch.empty()) RunTeacher(batch);
    batch.clear();
    ReportProgress(progress);
    if (!task.has_value() && view_queue_.exhausted()) break;
  }
  if (Stopping()) {
    image_queue_.Abort();
    view_queue_.Abort();
  }
}

void PrecomputePipeline::RunTeacher(std::vector<ViewTask>& batch) {
  std::vector<View> views;
  views.reserve(batch.size());
  for (ViewTask& task : batch) views.push_back(std::move(task.view));
  const absl::Time start = absl::Now();
  absl::StatusOr<std::vector<FeatureRecord>> records = teacher_->Run(views, description_.set.levels);
  {
    std::lock_guard lock(mutex_);
    report_.teacher_busy += absl::Now() - start;
  }
  if (!records.ok()) return Fail(WithContext(records.status(), "teacher"));
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!encode_queue_.Push({std::move(batch[i].unit), batch[i].index, std::move((*records)[i]), ""})) return;
  }
}

void PrecomputePipeline::EncodeLoop() {
  while (std::optional<EncodeTask> task = encode_queue_.Pop()) {
    if (failed_) return;
    if (task->unit->abandoned()) continue;
    const RecordKey& key = task->unit->claimed().wanted[task->index];
    const bool failed = !task->failure.empty();
    if (!failed && options_.importance_from != nullptr) {
      const absl::Status taken = TakeImportance(*options_.importance_from, key, task->record);
      if (!taken.ok()) return Fail(WithContext(taken, "the set that importance is taken from"));
    }
    if (!failed && IsSampled(task->index, key)) {
      absl::StatusOr<std::vector<SampledError>> errors = MeasureError(key, task->record);
      if (!errors.ok()) return Fail(WithContext(errors.status(), absl::StrCat("encode ", key.ToString())));
      task->unit->AddErrors(*errors);
    }
    absl::StatusOr<std::string> block =
        failed ? EncodeFailedBlock(task->failure)
               : EncodeForSet(description_, set_.store->profile(), key, std::move(task->record));
    if (!block.ok()) return Fail(WithContext(block.status(), absl::StrCat("encode ", key.ToString())));
    if (NeedsProfile(description_.set.codec)) CountFallbackPlanes(*block);
    absl::StatusOr<bool> last = task->unit->Complete(task->index, *std::move(block), failed);
    if (!last.ok()) return Fail(WithContext(last.status(), absl::StrCat("write ", key.ToString())));
    ++records_computed_;
    if (*last) publish_queue_.Push(task->unit);
  }
}

// By the key, so that it does not depend on who computes the record.
bool PrecomputePipeline::IsSampled(size_t index, const RecordKey& key) const {
  if (options_.error_sample <= 0) return false;
  const uint32_t number = LoadLittleEndian<uint32_t>(key.image.bytes.data()) + key.view_seed * 0x9e3779b9u;
  return index == 0 || static_cast<double>(number) < options_.error_sample * 0x1p32;
}

absl::StatusOr<std::vector<SampledError>> PrecomputePipeline::MeasureError(const RecordKey& key,
                                                                           FeatureRecord record) const {
  AFTERIMAGE_ASSIGN_OR_RETURN(record, RecodeRecord(description_.set, key, std::move(record)));
  CodecMeter meter(description_.set.codec, set_.store->profile());
  AFTERIMAGE_RETURN_IF_ERROR(meter.Add(record));
  return meter.Sampled();
}

void PrecomputePipeline::CountFallbackPlanes(const std::string& encoded) {
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(AsBytes(encoded));
  if (!block.ok() || block->num_fallback_planes() == 0) return;
  std::lock_guard lock(mutex_);
  report_.fallback_planes += block->num_fallback_planes();
}

void PrecomputePipeline::PublishLoop() {
  while (std::optional<std::shared_ptr<UnitInProgress>> popped = publish_queue_.Pop()) {
    const std::shared_ptr<UnitInProgress>& unit = *popped;
    UnitMetadata metadata;
    metadata.worker = options_.worker;
    metadata.device = teacher_->DeviceDescription();
    metadata.library_versions = absl::StrCat("afterimage ", Version());
    metadata.num_threads = static_cast<uint32_t>(std::max(0, options_.num_encode_threads));
    metadata.micro_batch = teacher_->micro_batch();
    absl::StatusOr<PublishReport> published = unit->Publish(metadata);
    if (!published.ok() && !absl::IsFailedPrecondition(published.status())) {
      // Still active: its lease is released at the end, so that the next worker need not wait for it to expire.
      return Fail(WithContext(published.status(), absl::StrCat("publish unit ", unit->lease().unit.ToString())));
    }
    std::lock_guard lock(mutex_);
    std::erase(active_, unit);
    if (!published.ok()) {
      ++report_.units_lost;
      continue;
    }
    ++report_.units;
    ++units_published_;
    report_.records += unit->claimed().wanted.size();
    report_.failed += unit->num_failed();
    report_.bytes += published->bytes_written;
    report_.duplicates_equal += published->duplicates_equal;
    report_.duplicates_different += published->duplicates_different;
  }
}

void PrecomputePipeline::RenewLoop() {
  absl::Time next = absl::Now() + options_.lease_duration / 3;
  while (!finished_) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (absl::Now() < next) continue;
    next = absl::Now() + options_.lease_duration / 3;
    std::vector<std::shared_ptr<UnitInProgress>> active;
    {
      std::lock_guard lock(mutex_);
      active = active_;
    }
    for (const auto& unit : active) {
      if (failed_ || finished_) break;
      absl::StatusOr<absl::Time> expires = set_.ledger->Renew(unit->lease(), options_.lease_duration);
      if (expires.ok()) {
        unit->SetExpiry(*expires);
      } else if (absl::IsFailedPrecondition(expires.status())) {
        std::lock_guard lock(mutex_);
        if (std::erase(active_, unit) > 0) {   // not published in the meantime: the unit really is another's
          unit->Abandon();
          ++report_.units_lost;
        }
      }
      // Anything else (a server that is away) may heal before the lease runs out; publishing tells.
    }
  }
}

void PrecomputePipeline::ReportProgress(Progress* progress) {
  if (progress == nullptr) return;
  auto fill = [](size_t size, size_t capacity) { return static_cast<int>(100 * size / capacity); };
  progress->Update(records_present_ + records_computed_,
                   absl::StrFormat("waiting for teacher %d %%, encoder %d %%", fill(view_queue_.size(), view_queue_.capacity()),
                                   fill(encode_queue_.size(), encode_queue_.capacity())));
}

}  // namespace afterimage
