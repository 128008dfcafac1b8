// The RPCs of proto/afterimage/v1/catalog.proto.
#pragma once

#include "afterimage/v1/catalog.grpc.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/service_limits.h"
#include "cache_server/service/stream_gate.h"
#include "cache_server/service/transfer_watch.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// Validates and hands over. Thread-safe. The arguments must outlive it.
class CatalogService final : public v1::Catalog::Service {
 public:
  CatalogService(FeatureCatalog* catalog, OpenSets* sets, StreamGate* gate, TransferWatch* transfers,
                 CallRunner* calls, const ServiceLimits& limits)
      : catalog_(catalog), sets_(sets), gate_(gate), transfers_(transfers), calls_(calls), limits_(limits) {}

  grpc::Status GetCapabilities(grpc::ServerContext* context, const v1::GetCapabilitiesRequest*,
                               v1::Capabilities* response) override;

  grpc::Status CreateSet(grpc::ServerContext* context, const v1::CreateSetRequest* request,
                         v1::CreateSetResponse* response) override;
  grpc::Status ListSets(grpc::ServerContext* context, const v1::ListSetsRequest*,
                        v1::ListSetsResponse* response) override;
  grpc::Status DescribeSet(grpc::ServerContext* context, const v1::DescribeSetRequest* request,
                           v1::DescribeSetResponse* response) override;
  grpc::Status ListFailures(grpc::ServerContext* context, const v1::ListFailuresRequest* request,
                            grpc::ServerWriter<v1::ListFailuresResponse>* writer) override;

  grpc::Status PutManifest(grpc::ServerContext* context, grpc::ServerReader<v1::PutManifestRequest>* reader,
                           v1::PutManifestResponse*) override;
  grpc::Status GetManifest(grpc::ServerContext* context, const v1::GetManifestRequest* request,
                           grpc::ServerWriter<v1::BytesPiece>* writer) override;
  grpc::Status ListManifests(grpc::ServerContext* context, const v1::ListManifestsRequest*,
                             v1::ListManifestsResponse* response) override;

  grpc::Status PutLabels(grpc::ServerContext* context, grpc::ServerReader<v1::PutLabelsRequest>* reader,
                         v1::PutLabelsResponse*) override;
  grpc::Status GetLabels(grpc::ServerContext* context, const v1::GetLabelsRequest* request,
                         grpc::ServerWriter<v1::BytesPiece>* writer) override;

  grpc::Status PutProfile(grpc::ServerContext* context, grpc::ServerReader<v1::BytesPiece>* reader,
                          v1::PutProfileResponse* response) override;
  grpc::Status GetProfile(grpc::ServerContext* context, const v1::GetProfileRequest* request,
                          grpc::ServerWriter<v1::BytesPiece>* writer) override;
  grpc::Status ListProfiles(grpc::ServerContext* context, const v1::ListProfilesRequest*,
                            v1::ListProfilesResponse* response) override;

  grpc::Status ClaimChoice(grpc::ServerContext* context, const v1::ClaimChoiceRequest* request,
                           v1::ClaimChoiceResponse* response) override;
  grpc::Status DecideChoice(grpc::ServerContext* context, const v1::DecideChoiceRequest* request,
                            v1::DecideChoiceResponse* response) override;

  grpc::Status SetName(grpc::ServerContext* context, const v1::SetNameRequest* request,
                       v1::SetNameResponse*) override;
  grpc::Status RemoveName(grpc::ServerContext* context, const v1::RemoveNameRequest* request,
                          v1::RemoveNameResponse*) override;
  grpc::Status ListNames(grpc::ServerContext* context, const v1::ListNamesRequest*,
                         v1::ListNamesResponse* response) override;

 private:
  // NotFound: it is no set, manifest or profile.
  absl::Status CheckExists(const Digest256& digest);

  FeatureCatalog* const catalog_;
  OpenSets* const sets_;
  StreamGate* const gate_;
  TransferWatch* const transfers_;
  CallRunner* const calls_;
  const ServiceLimits limits_;
};

}  // namespace afterimage
