#include "client/remote/remote_unit_publisher.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "afterimage/v1/units.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

// Small blocks share a message.
constexpr size_t kMessageBytes = 256 << 10;
// Room for key and lengths beside a block.
constexpr size_t kHeaderBytes = 256;

class RemoteUnitWriter : public UnitWriter {
 public:
  RemoteUnitWriter(std::shared_ptr<Connection> connection, SetDescription description, UnitId unit)
      : connection_(std::move(connection)),
        description_(std::move(description)),
        unit_(std::move(unit)),
        stub_(v1::Units::NewStub(connection_->channel())) {}

  ~RemoteUnitWriter() override {
    if (writer_ == nullptr || finished_) return;
    context_.TryCancel();
    Finish().IgnoreError();
  }

  absl::Status Start(const Digest256& set_id, const UnitLease& lease) {
    connection_->Prepare(context_);
    writer_ = stub_->PublishUnit(&context_, &report_);
    v1::PublishUnitRequest first;
    first.mutable_header()->set_set_id(DigestToWire(set_id));
    ToWire(lease, first.mutable_header()->mutable_lease());
    const WaitTeller::Wait wait = connection_->WaitFor("leave to hand in a unit");
    writer_->Write(first);
    writer_->WaitForInitialMetadata();
    if (context_.GetServerInitialMetadata().contains(kAcceptedMetadata)) return absl::OkStatus();
    AFTERIMAGE_RETURN_IF_ERROR(Finish());
    return absl::InternalError(
        absl::StrCat("the server at ", connection_->address(), " ended the upload at once"));
  }

  absl::Status Add(const RecordKey& key, ByteSpan block) override {
    if (finished_) return ended_.ok() ? absl::FailedPreconditionError("the unit has been published") : ended_;
    AFTERIMAGE_RETURN_IF_ERROR(CheckBlockForUnit(description_, unit_, key, block));
    if (block.size() + kHeaderBytes > connection_->limits().max_message_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("record ", key.ToString(), " has ", block.size(),
                                                     " bytes, the server's max_message_bytes is ",
                                                     connection_->limits().max_message_bytes));
    }
    if (pending_bytes_ > 0 && pending_bytes_ + block.size() > kMessageBytes)
      AFTERIMAGE_RETURN_IF_ERROR(Flush());
    v1::RecordBlock* record = pending_.mutable_blocks()->add_blocks();
    ToWire(key, record->mutable_key());
    record->set_block(block.data(), block.size());
    pending_bytes_ += block.size() + kHeaderBytes;
    return absl::OkStatus();
  }

  absl::StatusOr<PublishReport> Publish(const UnitMetadata& metadata) override {
    if (finished_) return ended_.ok() ? absl::FailedPreconditionError("the unit has been published") : ended_;
    if (pending_bytes_ > 0) AFTERIMAGE_RETURN_IF_ERROR(Flush());
    v1::PublishUnitRequest last;
    last.set_metadata(metadata.Serialize());
    AFTERIMAGE_RETURN_IF_ERROR(Send(last));
    writer_->WritesDone();
    AFTERIMAGE_RETURN_IF_ERROR(Finish());
    return FromWire(report_);
  }

 private:
  absl::Status Flush() {
    absl::Status sent = Send(pending_);
    pending_.Clear();
    pending_bytes_ = 0;
    return sent;
  }

  absl::Status Send(const v1::PublishUnitRequest& message) {
    const auto write = [&] {
      const WaitTeller::Wait wait = connection_->WaitFor("room for a unit's records");
      return writer_->Write(message);
    };
    if (write()) return absl::OkStatus();
    AFTERIMAGE_RETURN_IF_ERROR(Finish());  // the server has ended the call, and says why
    ended_ = absl::InternalError(
        absl::StrCat("the server at ", connection_->address(), " ended the upload early"));
    return ended_;
  }

  absl::Status Finish() {
    finished_ = true;
    const WaitTeller::Wait wait = connection_->WaitFor("a unit to be published");
    ended_ = StatusOfCall(*connection_, writer_->Finish());
    return ended_;
  }

  const std::shared_ptr<Connection> connection_;
  const SetDescription description_;
  const UnitId unit_;
  const std::unique_ptr<v1::Units::Stub> stub_;
  grpc::ClientContext context_;
  v1::PublishReport report_;
  std::unique_ptr<grpc::ClientWriter<v1::PublishUnitRequest>> writer_;
  v1::PublishUnitRequest pending_;
  size_t pending_bytes_ = 0;
  bool finished_ = false;
  absl::Status ended_;
};

}  // namespace

RemoteUnitPublisher::RemoteUnitPublisher(std::shared_ptr<Connection> connection, const Digest256& set_id,
                                         SetDescription description)
    : connection_(std::move(connection)), set_id_(set_id), description_(std::move(description)) {}

RemoteUnitPublisher::~RemoteUnitPublisher() = default;

absl::StatusOr<std::unique_ptr<UnitWriter>> RemoteUnitPublisher::Open(const UnitLease& lease) {
  std::unique_ptr<UnitWriter> opened;
  AFTERIMAGE_RETURN_IF_ERROR(RetryWhileUnavailable(*connection_, [&] {
    auto writer = std::make_unique<RemoteUnitWriter>(connection_, description_, lease.unit);
    absl::Status started = writer->Start(set_id_, lease);
    if (started.ok()) opened = std::move(writer);
    return started;
  }));
  return opened;
}

}  // namespace afterimage
