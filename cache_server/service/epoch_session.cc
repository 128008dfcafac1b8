#include "cache_server/service/epoch_session.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
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
constexpr uint64_t kWantedMessageBytes = 1 << 20;
constexpr absl::Duration kLinger = absl::Milliseconds(1);
// Room for the header fields beside a block.
constexpr uint64_t kHeaderBytes = 4 << 10;
// As gRPC writes a client that came through a unix socket.
constexpr char kUnixPeer[] = "unix:";
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
  // The client gives a frame's credit back while it still holds the frame, and takes one frame beyond it.
  OfferRegion(credit_bytes_ + 2 * LargestFrameBytes(set.store->description(), request.selection));

  std::thread listener([this] { ListenForCredit(); });
  pass->OnStop([this] { Stop(StoppingStatus()); });
  const absl::Status status = WriteFrames();
  Stop(status);
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
  wants_region_ = first.request().shared_memory();
  return request;
}

void EpochSession::OfferRegion(uint64_t wanted_bytes) {
  if (!wants_region_ || limits_.max_shared_bytes == 0 || !absl::StartsWith(context_->peer(), kUnixPeer))
    return;
  absl::StatusOr<std::unique_ptr<SharedRegion>> region =
      SharedRegion::Create(std::min(wanted_bytes, limits_.max_shared_bytes), limits_.min_shared_block_bytes);
  if (!region.ok()) return;
  region_ = *std::move(region);
  v1::ReadEpochResponse offer;
  ToWire(region_->name(), offer.mutable_region());
  MessageBuilder message(v1::ReadEpochResponse::kFramesFieldNumber, v1::EpochFrame::kBlockFieldNumber);
  message.AppendFields(offer);
  stream_->Write(message.Take());  // whether the client has gone is seen by the next one
}

void EpochSession::ListenForCredit() {
  v1::ReadEpochRequest message;
  while (stream_->Read(&message)) {
    absl::Status status = TakeMessage(message);
    if (!status.ok()) Stop(std::move(status));
  }
  if (context_->IsCancelled()) Stop(absl::CancelledError("the client has gone"));
  uint64_t written_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    listener_ended_ = true;
    credit_by_writing_ = true;
    written_bytes = outstanding_bytes_ - unwritten_bytes_;
    outstanding_bytes_ = unwritten_bytes_;
    changed_.notify_all();
  }
  frames_->ReturnCredit(written_bytes);
}

absl::Status EpochSession::TakeMessage(const v1::ReadEpochRequest& message) {
  switch (message.message_case()) {
    case v1::ReadEpochRequest::kCreditBytes:
      for (const uint64_t offset : message.released_places()) {
        if (region_ == nullptr)
          return absl::InvalidArgumentError("ReadEpoch: there is no region to give back from");
        AFTERIMAGE_RETURN_IF_ERROR(region_->Release(offset));
      }
      ReturnCredit(message.credit_bytes());
      return absl::OkStatus();
    case v1::ReadEpochRequest::kRegionMapped:
      if (region_ == nullptr || region_mapped_.exchange(true))
        return absl::InvalidArgumentError("ReadEpoch: there is no region that could be mapped now");
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError("ReadEpoch: after the request only credit may be sent");
  }
}

absl::Status EpochSession::WriteFrames() {
  MessageBuilder message(v1::ReadEpochResponse::kFramesFieldNumber, v1::EpochFrame::kBlockFieldNumber);
  while (true) {
    const Content content = CollectMessage(message);
    if (content.records == 0) return *over_;
    bool pays_itself = false;
    {
      // From here on the client may give it back.
      std::lock_guard lock(mutex_);
      unwritten_bytes_ -= content.cost;
      pays_itself = credit_by_writing_;
    }
    const absl::Time begin = absl::Now();
    if (!stream_->Write(message.Take())) return absl::CancelledError("the client has gone");
    metrics_->Waited(ServerMetrics::EpochWait::kSocket, absl::Now() - begin);
    counts_->Sent(content.records, content.bytes, content.bad);
    if (content.shared_bytes > 0) counts_->Shared(content.shared_bytes);
    if (pays_itself) ReturnCredit(content.cost);
  }
}

EpochSession::Content EpochSession::CollectMessage(MessageBuilder& message) {
  const absl::Time begin = absl::Now();
  absl::Time now = begin;
  StallTimes idle;
  Content content;
  while (content.bytes < kWantedMessageBytes && now - begin < kLinger) {
    if (!held_.has_value()) held_ = TakeFrame(/*may_wait=*/content.records == 0, idle);
    if (!held_.has_value()) break;
    if (content.records > 0 && content.cost + held_->CostBytes() > kWantedMessageBytes) break;
    AddFrame(*held_, message, content);
    held_.reset();
    now = absl::Now();
  }
  if (content.records > 0) {
    // What nothing explains went into collecting.
    idle[StallPart::kQueue] += std::max(now - begin - idle.Total(), absl::ZeroDuration());
    TellIdle(idle, message);
  }
  return content;
}

void EpochSession::AddFrame(const EpochFrame& frame, MessageBuilder& message, Content& content) {
  HeaderOf(frame, header_);
  const std::optional<uint64_t> offset = region_mapped_ ? region_->Put(frame.block.bytes) : std::nullopt;
  if (offset.has_value()) {
    header_.mutable_place()->set_offset(*offset);
    header_.mutable_place()->set_bytes(frame.block.bytes.size());
    content.shared_bytes += frame.block.bytes.size();
  }
  message.Add(header_, offset.has_value() ? PinnedBytes() : frame.block);
  content.cost += frame.CostBytes();
  ++content.records;
  content.bytes += frame.block.bytes.size();
  content.bad += frame.state != RecordState::kOk;
}

std::optional<EpochFrame> EpochSession::TakeFrame(bool may_wait, StallTimes& idle) {
  if (over_.has_value()) return std::nullopt;
  {
    // The EpochStream never refuses the frame that is asked for, lest a consumer that holds on to its frames
    // waits for ever. Such a consumer sits at the other end of the wire and lends credit by itself, so here a
    // used-up credit is waited for.
    std::unique_lock lock(mutex_);
    const auto may_go_on = [&] { return stopped_ || outstanding_bytes_ < credit_bytes_; };
    if (!may_go_on()) {
      if (!may_wait) return std::nullopt;
      const absl::Time asked = absl::Now();
      changed_.wait(lock, may_go_on);
      idle[StallPart::kCredit] += absl::Now() - asked;
    }
  }
  absl::StatusOr<std::optional<EpochFrame>> frame = frames_->Next();
  const bool has_frame = frame.ok() && frame->has_value();
  absl::Status status = has_frame ? CheckSize(**frame) : frame.status();
  std::lock_guard lock(mutex_);
  if (stopped_) status = stop_status_;
  if (!has_frame || !status.ok()) {
    over_ = std::move(status);
    return std::nullopt;
  }
  idle += (*frame)->waited;
  outstanding_bytes_ += (*frame)->CostBytes();
  unwritten_bytes_ += (*frame)->CostBytes();
  return *std::move(frame);
}

absl::Status EpochSession::CheckSize(const EpochFrame& frame) const {
  const uint64_t bytes = frame.block.bytes.size();
  if (bytes + kHeaderBytes <= limits_.max_message_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("record ", frame.key.ToString(), " has ", bytes,
                                                 " bytes, max_message_bytes is ", limits_.max_message_bytes,
                                                 ": ask for fewer levels, for a mask's tokens, or for f16"));
}

void EpochSession::TellIdle(const StallTimes& idle, MessageBuilder& message) {
  metrics_->Waited(ServerMetrics::EpochWait::kStore, idle[StallPart::kDisk]);
  metrics_->Waited(ServerMetrics::EpochWait::kQueue, idle[StallPart::kQueue]);
  metrics_->Waited(ServerMetrics::EpochWait::kCredit, idle[StallPart::kCredit]);
  v1::ReadEpochResponse rest;
  const auto micros = [&](StallPart part) { return absl::ToInt64Microseconds(idle[part]); };
  rest.mutable_idle()->set_disk_us(micros(StallPart::kDisk));
  rest.mutable_idle()->set_queue_us(micros(StallPart::kQueue));
  rest.mutable_idle()->set_credit_us(micros(StallPart::kCredit));
  message.AppendFields(rest);
}

void EpochSession::ReturnCredit(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    // What was not sent cannot be given back.
    bytes = std::min(bytes, outstanding_bytes_ - unwritten_bytes_);
    outstanding_bytes_ -= bytes;
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
    if (!stopped_) stop_status_ = std::move(status);
    stopped_ = true;
    changed_.notify_all();
  }
  frames_->Cancel();
}

}  // namespace afterimage
