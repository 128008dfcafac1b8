#include "cache_server/service/epoch_session.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "afterimage/v1/epochs.grpc.pb.h"  // also how gRPC parses a protobuf message
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"
#include "proto/wire/grpc_status.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

// Small records share a message; a message with this much is not worth waiting for more.
constexpr uint64_t kWantedMessageBytes = 256 << 10;
constexpr uint64_t kMaxMessageBytes = 1 << 20;
constexpr std::chrono::microseconds kLinger(500);
// Room for the header fields beside a block.
constexpr uint64_t kHeaderBytes = 4 << 10;
// A client that has been told the end half-closes; one that does not is not waited for.
constexpr std::chrono::seconds kHalfCloseTimeout(5);

void HeaderOf(const EpochFrame& frame, v1::EpochFrame& header) {
  header.Clear();
  header.set_position(frame.position);
  header.set_occurrence(frame.occurrence);
  header.set_image(frame.key.image.bytes.data(), frame.key.image.bytes.size());
  header.set_view_seed(frame.key.view_seed);
  header.set_mask_index(frame.mask_index);
  header.set_padding(frame.padding);
  header.set_state(ToWire(frame.state));
  if (frame.state == RecordState::kOk) header.set_record_digest(DigestToWire(frame.record_digest));
  header.set_reason(frame.reason);
}

}  // namespace

EpochSession::EpochSession(EpochSource* source, OpenSets* sets, StreamGate* gate, ServerMetrics* metrics,
                           BulkCounts* counts, const ServiceLimits& limits, grpc::ServerContext* context,
                           Stream* stream)
    : source_(source),
      sets_(sets),
      gate_(gate),
      metrics_(metrics),
      counts_(counts),
      limits_(limits),
      context_(context),
      stream_(stream) {}

absl::Status EpochSession::Run() {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<StreamGate::Pass> pass, gate_->Enter());
  AFTERIMAGE_ASSIGN_OR_RETURN(const EpochRequest request, ReadRequest());
  credit_bytes_ = request.credit_bytes;
  // Held for the source, which opens the set for reading.
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set, sets_->Get(request.set_id, OpenMode::kRead));
  AFTERIMAGE_ASSIGN_OR_RETURN(frames_, source_->Open(request));
  context_->AddInitialMetadata(kAcceptedMetadata, "1");
  stream_->SendInitialMetadata();

  std::thread listener([this] { ListenForCredit(); });
  std::thread taker([this] { TakeFrames(); });
  pass->OnStop([this] { Stop(StoppingStatus()); });
  const absl::Status status = WriteFrames();
  Stop(status);
  taker.join();
  if (!WriteEnd(status)) context_->TryCancel();
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kHalfCloseTimeout, [&] { return listener_ended_; })) context_->TryCancel();
  }
  listener.join();
  pass.reset();  // its callback refers to this session
  return status;
}

absl::StatusOr<EpochRequest> EpochSession::ReadRequest() {
  v1::ReadEpochRequest first;
  if (!stream_->Read(&first)) return absl::InvalidArgumentError("ReadEpoch: no message was sent");
  if (!first.has_request())
    return absl::InvalidArgumentError("ReadEpoch: the first message must be the request");
  if (static_cast<uint32_t>(first.request().positions_size()) > limits_.max_position_ranges) {
    return absl::InvalidArgumentError(absl::StrCat("the request has ", first.request().positions_size(),
                                                   " ranges of positions, max_position_ranges is ",
                                                   limits_.max_position_ranges));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(EpochRequest request, FromWire(first.request()));
  if (request.credit_bytes < limits_.min_credit_bytes || request.credit_bytes > limits_.max_credit_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("credit_bytes is ", request.credit_bytes,
                                                   "; this server takes ", limits_.min_credit_bytes, " to ",
                                                   limits_.max_credit_bytes));
  }
  return request;
}

void EpochSession::ListenForCredit() {
  v1::ReadEpochRequest message;
  while (stream_->Read(&message)) {
    if (message.message_case() == v1::ReadEpochRequest::kCreditBytes) {
      ReturnCredit(message.credit_bytes());
    } else {
      Stop(absl::InvalidArgumentError("ReadEpoch: after the request only credit may be sent"));
    }
  }
  if (context_->IsCancelled()) Stop(absl::CancelledError("the client has gone"));
  uint64_t written_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    listener_ended_ = true;
    credit_by_writing_ = true;
    written_bytes = outstanding_bytes_ - waiting_bytes_;
    outstanding_bytes_ = waiting_bytes_;
    changed_.notify_all();
  }
  frames_->ReturnCredit(written_bytes);
}

void EpochSession::TakeFrames() {
  while (true) {
    {
      // The EpochStream never refuses the frame that is asked for, lest a consumer that holds on to its
      // frames waits for ever. Such a consumer sits at the other end of the wire and lends credit by itself,
      // so here a used-up credit is waited for.
      std::unique_lock lock(mutex_);
      if (!ended_ && outstanding_bytes_ >= credit_bytes_) {
        const absl::Time asked = absl::Now();
        changed_.wait(lock, [&] { return ended_ || outstanding_bytes_ < credit_bytes_; });
        const absl::Time now = absl::Now();
        idle_.Explain(std::nullopt, {StallPart::kCredit, now - asked}, now);
      }
      if (ended_) return;
    }
    absl::StatusOr<std::optional<EpochFrame>> frame = frames_->Next();
    std::unique_lock lock(mutex_);
    if (ended_) return;
    if (idle_.waiting() && frame.ok() && frame->has_value())
      idle_.Explain(std::nullopt, (*frame)->waited, absl::Now());
    if (!frame.ok() || !frame->has_value()) {
      ended_ = true;
      end_ = frame.status();
    } else if ((*frame)->block.bytes.size() + kHeaderBytes > limits_.max_message_bytes) {
      ended_ = true;
      end_ = absl::InvalidArgumentError(
          absl::StrCat("record ", (*frame)->key.ToString(), " has ", (*frame)->block.bytes.size(),
                       " bytes, max_message_bytes is ", limits_.max_message_bytes,
                       ": ask for fewer levels, for a mask's tokens, or for f16"));
    } else {
      waiting_bytes_ += (*frame)->CostBytes();
      outstanding_bytes_ += (*frame)->CostBytes();
      waiting_.push_back(*std::move(*frame));
    }
    const bool is_last = ended_;
    // The writer waits for the first frame, and then for enough of them.
    const bool wakes_writer = waiting_.size() == 1 || HasEnough();
    lock.unlock();  // or the writer would wake only to wait for the lock
    if (wakes_writer) changed_.notify_all();
    if (is_last) return;
  }
}

absl::Status EpochSession::WriteFrames() {
  MessageBuilder message(v1::ReadEpochResponse::kFramesFieldNumber, v1::EpochFrame::kBlockFieldNumber);
  Content content;
  absl::Status status;
  while (NextMessage(message, content, status)) {
    const absl::Time begin = absl::Now();
    if (!stream_->Write(message.Take())) return absl::CancelledError("the client has gone");
    metrics_->Waited(ServerMetrics::EpochWait::kSocket, absl::Now() - begin);
    counts_->Sent(content.records, content.bytes, content.bad);
    if (content.cost > 0) ReturnCredit(content.cost);
  }
  return status;
}

bool EpochSession::NextMessage(MessageBuilder& message, Content& content, absl::Status& status) {
  std::deque<EpochFrame> taken;
  uint64_t cost = 0;
  content = {};
  {
    std::unique_lock lock(mutex_);
    content.idle = WaitForFrames(lock);
    if (stopped_ || waiting_.empty()) {
      status = end_;
      return false;
    }
    do {
      const uint64_t frame_cost = waiting_.front().CostBytes();
      if (!taken.empty() && cost + frame_cost > kMaxMessageBytes) break;
      cost += frame_cost;
      taken.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    } while (!waiting_.empty());
    waiting_bytes_ -= cost;
    if (credit_by_writing_) content.cost = cost;
  }
  v1::EpochFrame header;
  for (const EpochFrame& frame : taken) {
    HeaderOf(frame, header);
    message.Add(header, frame.block);
    ++content.records;
    content.bytes += frame.block.bytes.size();
    content.bad += frame.state != RecordState::kOk;
  }
  v1::ReadEpochResponse rest;
  const auto micros = [&](StallPart part) { return absl::ToInt64Microseconds(content.idle[part]); };
  rest.mutable_idle()->set_disk_us(micros(StallPart::kDisk));
  rest.mutable_idle()->set_queue_us(micros(StallPart::kQueue));
  rest.mutable_idle()->set_credit_us(micros(StallPart::kCredit));
  message.AppendFields(rest);
  return true;
}

bool EpochSession::HasEnough() const {
  // Without credit no more come before these are sent.
  return ended_ || waiting_bytes_ >= kWantedMessageBytes ||
         (!waiting_.empty() && outstanding_bytes_ >= credit_bytes_);
}

StallTimes EpochSession::WaitForFrames(std::unique_lock<std::mutex>& lock) {
  if (HasEnough()) return {};
  idle_.Begin(absl::Now());
  changed_.wait(lock, [&] { return ended_ || !waiting_.empty(); });
  if (!HasEnough()) changed_.wait_for(lock, kLinger, [&] { return HasEnough(); });
  const Stall idle = idle_.End(absl::Now(), StallPart::kQueue);
  const StallTimes times = idle.rows().empty() ? StallTimes() : idle.rows().front();
  CountIdle(times);
  return times;
}

void EpochSession::CountIdle(const StallTimes& idle) {
  metrics_->Waited(ServerMetrics::EpochWait::kStore, idle[StallPart::kDisk]);
  metrics_->Waited(ServerMetrics::EpochWait::kQueue, idle[StallPart::kQueue]);
  metrics_->Waited(ServerMetrics::EpochWait::kCredit, idle[StallPart::kCredit]);
}

void EpochSession::ReturnCredit(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    outstanding_bytes_ -= std::min(bytes, outstanding_bytes_);
  }
  changed_.notify_all();
  frames_->ReturnCredit(bytes);
}

bool EpochSession::WriteEnd(const absl::Status& status) {
  if (absl::IsCancelled(status)) return false;
  v1::ReadEpochResponse last;
  const grpc::Status wire = ToGrpcStatus(status);  // with its text cut as in a trailer
  last.mutable_end()->set_code(static_cast<uint32_t>(wire.error_code()));
  last.mutable_end()->set_message(wire.error_message());
  MessageBuilder message(v1::ReadEpochResponse::kFramesFieldNumber, v1::EpochFrame::kBlockFieldNumber);
  message.AppendFields(last);
  return stream_->Write(message.Take());
}

void EpochSession::Stop(absl::Status status) {
  {
    std::lock_guard lock(mutex_);
    if (!ended_) end_ = std::move(status);
    ended_ = true;
    stopped_ = true;
    changed_.notify_all();
  }
  frames_->Cancel();
}

}  // namespace afterimage
