#include "client/remote/remote_epoch_source.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "afterimage/v1/epochs.grpc.pb.h"
#include "client/remote/block_pool.h"
#include "client/remote/remote_call.h"
#include "client/remote/shared_blocks.h"
#include "core/base/status_macros.h"
#include "core/order/epoch_positions.h"
#include "proto/wire/convert.h"
#include "proto/wire/grpc_status.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

// Credit is sent in portions of this part of the whole; sooner when Next waits.
constexpr uint64_t kCreditPortions = 16;

// A thread receives and parses; Next takes from a queue that the credit bounds.
class RemoteEpochStream : public EpochStream {
 public:
  RemoteEpochStream(std::shared_ptr<Connection> connection, const EpochRequest& request)
      : connection_(std::move(connection)),
        request_(request),
        positions_(request_),
        stub_(v1::Epochs::NewStub(connection_->channel())) {}

  ~RemoteEpochStream() override {
    Cancel();
    if (receiver_.joinable()) receiver_.join();
  }

  // Errors as EpochSource::Open.
  absl::Status Start() {
    receiver_ = std::thread([this] { Receive(); });
    std::unique_lock lock(mutex_);
    const auto timeout = absl::ToChronoMilliseconds(connection_->options().call_timeout);
    if (!changed_.wait_for(lock, timeout, [&] { return accepted_ || ended_; })) {
      return absl::DeadlineExceededError(
          absl::StrCat("the server at ", connection_->address(), " did not answer in time"));
    }
    return ended_ && !accepted_ ? end_ : absl::OkStatus();
  }

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    std::unique_lock lock(mutex_);
    if (ready_.empty() && !ended_) {
      if (std::exchange(interrupted_, false)) return InterruptedStatus();
      next_waits_ = true;
      waits_since_ = absl::Now();
      if (ServerWaits()) {
        lock.unlock();
        SendCredit();
        lock.lock();
      }
      absl::Status waited = WaitForFrame(lock);
      next_waits_ = false;
      AFTERIMAGE_RETURN_IF_ERROR(waited);
      if (ready_.empty() && !ended_ && !cancelled_ && std::exchange(interrupted_, false))
        return InterruptedStatus();
    }
    if (cancelled_) return absl::CancelledError("reading the epoch was cancelled");
    if (ready_.empty()) {
      if (!end_.ok()) return end_;
      return std::nullopt;
    }
    std::optional<EpochFrame> frame(std::move(ready_.front()));
    ready_.pop_front();
    return frame;
  }

  void ReturnCredit(uint64_t bytes) override {
    {
      std::lock_guard lock(mutex_);
      const uint64_t repaid = std::min(bytes, lent_bytes_);
      lent_bytes_ -= repaid;
      unsent_credit_ += bytes - repaid;
      if (!(next_waits_ && ServerWaits()) &&
          unsent_credit_ < std::max<uint64_t>(request_.credit_bytes / kCreditPortions, 1))
        return;
    }
    SendCredit();
  }

  void Cancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    context_.TryCancel();
    changed_.notify_all();
  }

  void Interrupt() override {
    std::lock_guard lock(mutex_);
    interrupted_ = true;
    changed_.notify_all();
  }

  bool IsHeldUp() const override {
    std::lock_guard lock(mutex_);
    return !ready_.empty() && ServerWaits();
  }

 private:
  static absl::Status InterruptedStatus() { return absl::AbortedError("the wait was interrupted"); }

  // For credit, of which what has not been a portion yet is then sent. With mutex_ held.
  bool ServerWaits() const { return unpaid_bytes_ >= request_.credit_bytes; }

  absl::Status WaitForFrame(std::unique_lock<std::mutex>& lock) {
    const auto timeout = absl::ToChronoMilliseconds(connection_->options().stream_timeout);
    const auto is_over = [&] { return cancelled_ || ended_ || interrupted_ || !ready_.empty(); };
    if (changed_.wait_for(lock, timeout, is_over)) return absl::OkStatus();
    ended_ = true;
    end_ = absl::UnavailableError(absl::StrCat(
        "the server at ", connection_->address(), " has sent nothing for ",
        absl::FormatDuration(connection_->options().stream_timeout), ", though it owes ", NextText()));
    context_.TryCancel();
    return end_;
  }

  // Sends what has been given back. When Next waits and the consumer holds frames for the whole credit, the
  // server would wait for the consumer and the consumer for the server: then enough for one more frame is
  // lent, and kept from what is given back later.
  void SendCredit() {
    std::lock_guard writing(write_mutex_);
    v1::ReadEpochRequest message;
    std::vector<uint64_t> released;
    {
      std::lock_guard lock(mutex_);
      if (blocks_ != nullptr) released = blocks_->TakeReleased();
      uint64_t credit = std::exchange(unsent_credit_, 0);
      unpaid_bytes_ -= std::min(credit, unpaid_bytes_);
      if (next_waits_ && ready_.empty() && ServerWaits()) {
        const uint64_t loan = unpaid_bytes_ - request_.credit_bytes + 1;
        lent_bytes_ += loan;
        unpaid_bytes_ -= loan;
        credit += loan;
      }
      if ((credit == 0 && released.empty()) || ended_ || !accepted_) return;
      message.set_credit_bytes(credit);
    }
    message.mutable_released_places()->Add(released.begin(), released.end());
    if (!writes_closed_) stream_->Write(message);
  }

  void Receive() {
    connection_->Prepare(context_);
    stream_ = stub_->ReadEpoch(&context_);
    v1::ReadEpochRequest first;
    ToWire(request_, first.mutable_request());
    first.mutable_request()->set_shared_memory(connection_->may_share_memory());
    stream_->Write(first);
    stream_->WaitForInitialMetadata();
    if (context_.GetServerInitialMetadata().contains(kAcceptedMetadata)) {
      std::lock_guard lock(mutex_);
      accepted_ = true;
      last_message_ = absl::Now();
      changed_.notify_all();
    }
    absl::Status status;
    bool told_end = false;
    v1::ReadEpochResponse response;  // one for all: its frames keep their memory
    while (status.ok() && stream_->Read(&response)) {
      if (response.has_region()) MapRegion(response.region());
      std::vector<EpochFrame> frames;
      for (v1::EpochFrame& wire : *response.mutable_frames()) {
        status = TakeFrame(wire, frames);
        if (!status.ok()) break;
      }
      Deliver(std::move(frames), IdleFromWire(response.idle()));
      if (response.has_end()) {
        told_end = true;
        if (status.ok()) status = StatusOfEnd(response.end());
        CloseWrites();
      }
    }
    CloseWrites();
    if (!status.ok()) context_.TryCancel();
    const absl::Status finished = StatusOfCall(*connection_, stream_->Finish());
    if (status.ok() && !told_end) status = finished;
    if (status.ok()) status = CheckComplete(told_end);
    std::lock_guard lock(mutex_);
    if (!ended_) end_ = std::move(status);
    ended_ = true;
    changed_.notify_all();
  }

  // What cannot be opened is no error: then the server sends everything as it would to another machine.
  void MapRegion(const v1::SharedRegion& region) {
    const absl::StatusOr<SharedMemoryName> name = FromWire(region);
    if (!name.ok() || !connection_->may_share_memory()) return;
    absl::StatusOr<std::shared_ptr<SharedBlocks>> blocks = SharedBlocks::Open(*name);
    if (!blocks.ok()) return;
    {
      std::lock_guard lock(mutex_);
      blocks_ = *std::move(blocks);
    }
    v1::ReadEpochRequest mapped;
    mapped.mutable_region_mapped();
    std::lock_guard writing(write_mutex_);
    if (!writes_closed_) stream_->Write(mapped);
  }

  absl::Status StatusOfEnd(const v1::EpochEnd& end) {
    if (end.code() == 0) return absl::OkStatus();
    // As if it had come in the trailer, where ToGrpcStatus marks it.
    const absl::Status status(static_cast<absl::StatusCode>(end.code()), end.message());
    return FromGrpcStatus(ToGrpcStatus(status), connection_->address());
  }

  absl::Status TakeFrame(v1::EpochFrame& wire, std::vector<EpochFrame>& frames) {
    EpochFrame frame;
    frame.position = wire.position();
    {
      std::lock_guard lock(mutex_);
      if (num_received_ == positions_.size() || frame.position != positions_[num_received_]) {
        return absl::InternalError(absl::StrCat("the server at ", connection_->address(), " sent position ",
                                                frame.position, ", expected ", NextText()));
      }
      ++num_received_;
    }
    frame.step = frame.position / request_.global_batch;
    frame.server = 0;
    frame.occurrence = wire.occurrence();
    AFTERIMAGE_ASSIGN_OR_RETURN(frame.key.image, ImageFromWire(wire.image()));
    frame.key.view_seed = wire.view_seed();
    frame.mask_index = wire.mask_index();
    frame.padding = wire.padding();
    AFTERIMAGE_ASSIGN_OR_RETURN(frame.state, FromWire(wire.state()));
    frame.reason = std::move(*wire.mutable_reason());
    if (frame.state == RecordState::kOk) {
      AFTERIMAGE_ASSIGN_OR_RETURN(frame.record_digest,
                                  Digest128FromWire("record_digest", wire.record_digest()));
      AFTERIMAGE_ASSIGN_OR_RETURN(frame.block, BlockOf(wire));
    }
    frames.push_back(std::move(frame));
    return absl::OkStatus();
  }

  absl::StatusOr<PinnedBytes> BlockOf(v1::EpochFrame& wire) {
    if (wire.has_place()) {
      if (blocks_ == nullptr || !wire.block().empty()) {
        return absl::InternalError(absl::StrCat("the server at ", connection_->address(),
                                                " names a place in memory that is not shared"));
      }
      absl::StatusOr<PinnedBytes> block = blocks_->Pin(wire.place().offset(), wire.place().bytes());
      if (block.ok()) return block;
      return absl::InternalError(
          absl::StrCat("the server at ", connection_->address(), " names ", block.status().message()));
    }
    // The parser writes into the memory that a string has: the next message finds a used one here.
    std::string next = pool_->Take();
    wire.mutable_block()->swap(next);
    return pool_->Pin(std::move(next));
  }

  static StallTimes IdleFromWire(const v1::StreamIdle& idle) {
    // A day is more than any stream waits: nothing overflows, whatever comes.
    const auto time = [](uint64_t us) {
      return absl::Microseconds(static_cast<int64_t>(std::min<uint64_t>(us, uint64_t{86'400} * 1'000'000)));
    };
    StallTimes times(StallPart::kDisk, time(idle.disk_us()));
    times[StallPart::kQueue] = time(idle.queue_us());
    times[StallPart::kCredit] = time(idle.credit_us());
    return times;
  }

  // `idle`: of the server, before it sent these.
  void Deliver(std::vector<EpochFrame> frames, const StallTimes& idle) {
    if (frames.empty()) return;
    {
      const absl::Time now = absl::Now();
      std::lock_guard lock(mutex_);
      if (next_waits_ && ready_.empty())
        frames.front().waited = SplitServerWait(now - waits_since_, now - last_message_, idle);
      last_message_ = now;
      for (EpochFrame& frame : frames) {
        unpaid_bytes_ += frame.CostBytes();
        ready_.push_back(std::move(frame));
      }
    }
    changed_.notify_all();
  }

  // For messages: what the server has to send next. With mutex_ held.
  std::string NextText() const {
    return num_received_ == positions_.size() ? "the end"
                                              : absl::StrCat("position ", positions_[num_received_]);
  }

  absl::Status CheckComplete(bool told_end) {
    std::lock_guard lock(mutex_);
    if (told_end && num_received_ == positions_.size()) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("the server at ", connection_->address(), " ended the epoch before ", NextText()));
  }

  void CloseWrites() {
    std::lock_guard writing(write_mutex_);
    if (!std::exchange(writes_closed_, true)) stream_->WritesDone();
  }

  const std::shared_ptr<Connection> connection_;
  const EpochRequest request_;
  const EpochPositions positions_;  // of a request that makes no sense, the server refuses it, and says why
  const std::unique_ptr<v1::Epochs::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ReadEpochRequest, v1::ReadEpochResponse>> stream_;
  std::thread receiver_;
  const std::shared_ptr<BlockPool> pool_ = std::make_shared<BlockPool>(request_.credit_bytes);

  std::mutex write_mutex_;  // taken before mutex_
  bool writes_closed_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<SharedBlocks>
      blocks_;  // null: nothing is shared; set by the receiver, before any frame of it
  std::deque<EpochFrame> ready_;
  absl::Time last_message_;     // with frames; at first when the request was accepted
  absl::Time waits_since_;      // with next_waits_
  uint64_t num_received_ = 0;   // frames
  uint64_t unsent_credit_ = 0;  // given back, the server does not know
  uint64_t unpaid_bytes_ = 0;   // received, as the server counts it
  uint64_t lent_bytes_ = 0;     // credit sent before it was given back
  bool next_waits_ = false;
  bool interrupted_ = false;  // Interrupt was called, and no Next has said so
  bool accepted_ = false;
  bool cancelled_ = false;
  bool ended_ = false;  // nothing more comes
  absl::Status end_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EpochStream>> RemoteEpochSource::Open(const EpochRequest& request) {
  const uint32_t max_ranges = connection_->limits().max_position_ranges;
  if (!request.positions.empty() && max_ranges == 0) {
    return absl::FailedPreconditionError(absl::StrCat("the server at ", connection_->address(),
                                                      " is of a release that knows no explicit positions"));
  }
  if (request.positions.size() > max_ranges) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request has ", request.positions.size(),
                     " ranges of positions, max_position_ranges of the server at ", connection_->address(),
                     " is ", max_ranges));
  }
  auto stream = std::make_unique<RemoteEpochStream>(connection_, request);
  AFTERIMAGE_RETURN_IF_ERROR(stream->Start());
  return stream;
}

}  // namespace afterimage
