#include "core/order/epoch_reader_stream.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

// Small records are read several at a time, so that a call's cost is shared; large ones singly, so that all threads have work.
constexpr uint64_t kRunBytes = 256 << 10;
constexpr uint64_t kMaxRun = 16;
// Reading stops when window, credit or slots are used up, and goes on when this part of them is free.
constexpr uint64_t kRoomPart = 8;
// Reading begins so far ahead: what is still in the processor's caches when Next returns it costs half as much
// to copy. When Next has taken all of a full window before more was read, the window doubles, up to the credit.
constexpr uint64_t kFirstWindowBytes = 4 << 20;

}  // namespace

EpochReaderStream::EpochReaderStream(OpenedEpoch epoch, const EpochReader::Options& options)
    : epoch_(std::move(epoch)),
      positions_(epoch_.request),
      num_frames_(positions_.size()),
      largest_frame_bytes_(LargestFrameBytes(epoch_.store->description(), epoch_.request.selection)),
      max_run_(std::clamp<uint64_t>(kRunBytes / largest_frame_bytes_, 1, kMaxRun)),
      max_slots_(std::max<uint64_t>(options.max_slots, 1)),
      now_(options.now),
      window_bytes_(std::max<uint64_t>(kFirstWindowBytes, 2 * (options.num_threads + 1) * largest_frame_bytes_)),
      window_end_(num_frames_) {
  const uint64_t num_threads = std::min<uint64_t>(std::max(options.num_threads, 0), num_frames_);
  threads_.reserve(num_threads);
  for (uint64_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { ReadInBackground(); });
}

EpochReaderStream::~EpochReaderStream() {
  Cancel();
  for (std::thread& thread : threads_) thread.join();
}

absl::StatusOr<std::optional<EpochFrame>> EpochReaderStream::Next() {
  std::unique_lock lock(mutex_);
  if (!error_.ok()) return error_;
  if (delivered_ == num_frames_ && !cancelled_) return std::nullopt;
  const StallTimes waited = WaitForFrame(lock);
  if (cancelled_) {
    error_ = absl::CancelledError("reading the epoch was cancelled");
    return error_;
  }
  Slot slot = std::move(ring_.front());
  if (!slot.status.ok()) {
    error_ = WithContext(slot.status, absl::StrCat("read position ", slot.frame.position, " of epoch ", epoch_.request.epoch));
    cancelled_ = true;  // what lies behind the error is not wanted any more
    claimable_.notify_all();
    return error_;
  }
  slot.frame.waited = waited;
  ring_.pop_front();
  ++delivered_;
  ring_bytes_ -= slot.frame.CostBytes();
  consumer_bytes_ += slot.frame.CostBytes();
  WakeReaders();
  return std::optional<EpochFrame>(std::move(slot.frame));
}

StallTimes EpochReaderStream::WaitForFrame(std::unique_lock<std::mutex>& lock) {
  const auto is_over = [&] { return cancelled_ || (!ring_.empty() && ring_.front().ready); };
  if (is_over()) return {};
  if (delivered_ == window_end_)
    window_bytes_ = std::min(2 * window_bytes_, std::max(window_bytes_, epoch_.request.credit_bytes));
  const absl::Time begin = now_();
  read_begins_ = claimed_ > delivered_ ? begin : absl::InfiniteFuture();
  read_ends_ = absl::InfiniteFuture();
  consumer_waits_ = true;
  absl::Time has_read_until = begin;
  while (!is_over() && ClaimableSlots() > 0) {
    const Run run = Claim();
    lock.unlock();
    ReadRun(run);
    lock.lock();
    has_read_until = now_();
  }
  next_ready_.wait(lock, is_over);
  consumer_waits_ = false;
  const absl::Time end = now_();
  const absl::Time read_ends = std::min(std::max(read_ends_, has_read_until), end);
  StallTimes waited(StallPart::kDisk, read_ends - std::min(read_begins_, read_ends));
  waited[StallPart::kQueue] =
      end - begin - waited.Total();  // for a thread to begin, and for this one to wake
  return waited;
}

void EpochReaderStream::ReturnCredit(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  consumer_bytes_ -= std::min(bytes, consumer_bytes_);
  WakeReaders();
}

void EpochReaderStream::Cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  claimable_.notify_all();
  next_ready_.notify_all();
}

void EpochReaderStream::ReadInBackground() {
  while (const std::optional<Run> run = WaitAndClaim()) ReadRun(*run);
}

std::optional<EpochReaderStream::Run> EpochReaderStream::WaitAndClaim() {
  std::unique_lock lock(mutex_);
  ++num_sleeping_;
  claimable_.wait(lock, [&] { return cancelled_ || claimed_ == num_frames_ || MayClaim(); });
  --num_sleeping_;
  if (cancelled_ || claimed_ == num_frames_) return std::nullopt;
  return Claim();
}

EpochReaderStream::Run EpochReaderStream::Claim() {
  const Run run{claimed_, claimed_ + ClaimableSlots()};
  if (consumer_waits_ && run.begin == delivered_) read_begins_ = now_();
  claimed_ = run.end;
  ring_bytes_ += largest_frame_bytes_ * (run.end - run.begin);
  ring_.resize(ring_.size() + (run.end - run.begin));
  if (claimed_ == num_frames_) claimable_.notify_all();  // the other threads are done
  return run;
}

uint64_t EpochReaderStream::AffordableSlots() const {
  const uint64_t credit_bytes = epoch_.request.credit_bytes;
  const uint64_t used_bytes = ring_bytes_ + consumer_bytes_;
  const uint64_t affordable =
      used_bytes >= credit_bytes ? 0 : (credit_bytes - used_bytes) / largest_frame_bytes_;
  return affordable == 0 && consumer_waits_ && claimed_ == delivered_ ? 1 : affordable;
}

uint64_t EpochReaderStream::FreeSlots() const {
  const uint64_t window =
      ring_bytes_ >= window_bytes_ ? 0 : (window_bytes_ - ring_bytes_) / largest_frame_bytes_;
  return std::min({AffordableSlots(), window, max_slots_ - std::min<uint64_t>(ring_.size(), max_slots_)});
}

bool EpochReaderStream::MayClaim() {
  const uint64_t num_free = FreeSlots();
  if (num_free == 0) {
    is_full_ = true;
    if (AffordableSlots() > 0) window_end_ = claimed_;
    return false;
  }
  if (is_full_ && claimed_ != delivered_) {
    const uint64_t num_bytes = std::min(window_bytes_, epoch_.request.credit_bytes);
    if (num_free < std::min(num_bytes / largest_frame_bytes_, max_slots_) / kRoomPart) return false;
  }
  is_full_ = false;
  return true;
}

void EpochReaderStream::WakeReaders() {
  if (num_sleeping_ > 0 && MayClaim()) claimable_.notify_all();
}

void EpochReaderStream::ReadRun(const Run& run) {
  const EpochRequest& request = epoch_.request;
  std::vector<EpochFrame> frames;
  std::vector<RecordKey> keys;
  for (uint64_t index = run.begin; index < run.end; ++index) {
    frames.push_back(FrameAt(request, epoch_.store->description(), *epoch_.manifest, positions_[index]));
    keys.push_back(frames.back().key);
  }
  // One epoch has one mask index.
  const MaskChoice mask{request.order.mask, frames.front().mask_index};
  std::vector<bool> filled(keys.size(), false);
  absl::Status status = epoch_.store->Read(keys, request.selection, mask, [&](size_t i, RecordResult result) {
    FillFrame(std::move(result), frames[i]);
    filled[i] = true;
    return FillSlot(run.begin + i, absl::OkStatus(), std::move(frames[i]));
  });
  if (status.ok()) status = absl::InternalError("the store has returned no result for a key");
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!filled[i] && !FillSlot(run.begin + i, status, std::move(frames[i]))) return;
  }
}

bool EpochReaderStream::FillSlot(uint64_t index, absl::Status status, EpochFrame frame) {
  std::lock_guard lock(mutex_);
  if (cancelled_) return false;
  Slot& slot = ring_[index - delivered_];  // slots are delivered only when ready, so this one still is in the ring
  ring_bytes_ = ring_bytes_ - largest_frame_bytes_ + frame.CostBytes();
  slot.status = std::move(status);
  slot.frame = std::move(frame);
  slot.ready = true;
  if (index == delivered_) {
    if (consumer_waits_) read_ends_ = now_();
    next_ready_.notify_one();
  }
  WakeReaders();  // the frame may be smaller than what was reserved
  return true;
}

}  // namespace afterimage
