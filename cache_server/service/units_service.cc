#include "cache_server/service/units_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/base/status_macros.h"
#include "proto/wire/convert.h"
#include "proto/wire/versions.h"

namespace afterimage {

grpc::Status UnitsService::Claim(grpc::ServerContext* context, const v1::ClaimRequest* request,
                                 v1::ClaimResponse* response) {
  return calls_->Run(*context, "Claim", Access::kWrite, [&]() -> absl::Status {
    AFTERIMAGE_RETURN_IF_ERROR(gate_->CheckServing());
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
    ClaimRequest claim;
    AFTERIMAGE_ASSIGN_OR_RETURN(claim.manifest, DigestFromWire("manifest", request->manifest()));
    claim.num_view_seeds = request->num_view_seeds();
    claim.worker = request->worker();
    claim.max_units = std::min(request->max_units(), limits_.max_units_per_claim);
    claim.seed_major = request->seed_major();
    claim.lease_duration = absl::Microseconds(static_cast<int64_t>(request->lease_duration_us()));
    AFTERIMAGE_ASSIGN_OR_RETURN(OpenedSet set, sets_->Get(set_id, OpenMode::kContribute));
    AFTERIMAGE_ASSIGN_OR_RETURN(ClaimResult result, set.ledger->Claim(claim));
    ToWire(result, response);
    return absl::OkStatus();
  });
}

grpc::Status UnitsService::Renew(grpc::ServerContext* context, const v1::RenewRequest* request,
                                 v1::RenewResponse* response) {
  return calls_->Run(*context, "Renew", Access::kWrite, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
    AFTERIMAGE_ASSIGN_OR_RETURN(UnitLease lease, FromWire(request->lease()));
    AFTERIMAGE_ASSIGN_OR_RETURN(OpenedSet set, sets_->Get(set_id, OpenMode::kContribute));
    AFTERIMAGE_ASSIGN_OR_RETURN(
        absl::Time expires,
        set.ledger->Renew(lease, absl::Microseconds(static_cast<int64_t>(request->lease_duration_us()))));
    response->set_expires_in_us(ExpiryToWire(expires));
    return absl::OkStatus();
  });
}

grpc::Status UnitsService::Release(grpc::ServerContext* context, const v1::ReleaseRequest* request,
                                   v1::ReleaseResponse*) {
  return calls_->Run(*context, "Release", Access::kWrite, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
    AFTERIMAGE_ASSIGN_OR_RETURN(UnitLease lease, FromWire(request->lease()));
    AFTERIMAGE_ASSIGN_OR_RETURN(OpenedSet set, sets_->Get(set_id, OpenMode::kContribute));
    return set.ledger->Release(lease);
  });
}

grpc::Status UnitsService::Progress(grpc::ServerContext* context, const v1::ProgressRequest* request,
                                    v1::ProgressResponse* response) {
  return calls_->Run(*context, "Progress", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 manifest, DigestFromWire("manifest", request->manifest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(OpenedSet set, sets_->Get(set_id, OpenMode::kContribute));
    AFTERIMAGE_ASSIGN_OR_RETURN(LedgerProgress progress,
                                set.ledger->Progress(manifest, request->num_view_seeds()));
    ToWire(progress, response);
    return absl::OkStatus();
  });
}

grpc::Status UnitsService::PublishUnit(grpc::ServerContext* context,
                                       grpc::ServerReader<v1::PublishUnitRequest>* reader,
                                       v1::PublishReport* response) {
  return calls_->RunBulk(*context, "PublishUnit", Access::kWrite,
                         [&](BulkCounts& counts) { return Publish(context, counts, reader, response); });
}

absl::Status UnitsService::Publish(grpc::ServerContext* context, BulkCounts& counts,
                                   grpc::ServerReader<v1::PublishUnitRequest>* reader,
                                   v1::PublishReport* response) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<StreamGate::Pass> pass,
                              gate_->Enter(/*even_while_draining=*/true));
  pass->OnStop([context] { context->TryCancel(); });
  TransferWatch::Guard alive(transfers_, context);
  v1::PublishUnitRequest message;
  if (!reader->Read(&message)) {
    AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
    return absl::InvalidArgumentError("PublishUnit: no message was sent");
  }
  if (!message.has_header())
    return absl::InvalidArgumentError("PublishUnit: the first message must be the header");
  AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 set_id,
                              DigestFromWire("header.set_id", message.header().set_id()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const UnitLease lease, FromWire(message.header().lease()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set, sets_->Get(set_id, OpenMode::kContribute));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<UnitWriter> writer, set.publisher->Open(lease));
  context->AddInitialMetadata(kAcceptedMetadata, "1");
  reader->SendInitialMetadata();

  while (reader->Read(&message)) {
    alive.Alive();
    switch (message.message_case()) {
      case v1::PublishUnitRequest::kBlocks:
        for (const v1::RecordBlock& record : message.blocks().blocks()) {
          AFTERIMAGE_ASSIGN_OR_RETURN(RecordKey key, FromWire(record.key()));
          AFTERIMAGE_RETURN_IF_ERROR(writer->Add(key, AsBytes(record.block())));
          counts.Received(1, record.block().size());
        }
        break;
      case v1::PublishUnitRequest::kMetadata: {
        AFTERIMAGE_ASSIGN_OR_RETURN(UnitMetadata metadata, UnitMetadata::Parse(message.metadata()));
        AFTERIMAGE_ASSIGN_OR_RETURN(PublishReport report, writer->Publish(metadata));
        ToWire(report, response);
        return absl::OkStatus();
      }
      default:
        return absl::InvalidArgumentError(
            "PublishUnit: after the header only blocks and metadata may be sent");
    }
  }
  AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
  if (context->IsCancelled())
    return absl::CancelledError("the worker has gone, or the server is stopping: nothing was published");
  return absl::InvalidArgumentError("PublishUnit: the stream ended without metadata: nothing was published");
}

}  // namespace afterimage
