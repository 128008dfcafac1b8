#include "cache_server/service/catalog_service.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"
#include "proto/wire/versions.h"

namespace afterimage {
namespace {

constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kFailuresPerMessage = 1000;

// Joins the pieces of a message stream whose first message may also name something.
template <typename Request>
absl::StatusOr<std::string> JoinPieces(TransferWatch::Guard&& alive, grpc::ServerReader<Request>* reader,
                                       Request& first, uint64_t max_bytes) {
  if (!reader->Read(&first)) {
    AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
    return absl::InvalidArgumentError("no message was sent");
  }
  std::string content = std::move(*first.mutable_content());
  for (Request next; reader->Read(&next);) {
    alive.Alive();
    if (content.size() + next.content().size() > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("more than max_transfer_bytes = ", max_bytes, " bytes were sent"));
    }
    content += next.content();
  }
  AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
  return content;
}

absl::Status SendPieces(TransferWatch::Guard&& alive, const std::string& content,
                        grpc::ServerWriter<v1::BytesPiece>* writer) {
  v1::BytesPiece piece;
  for (size_t begin = 0; begin < content.size(); begin += kPieceBytes) {
    piece.set_content(content.substr(begin, kPieceBytes));
    if (!writer->Write(piece)) {
      AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
      return absl::CancelledError("the client has gone");
    }
    alive.Alive();
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status CatalogService::GetCapabilities(grpc::ServerContext* context, const v1::GetCapabilitiesRequest*,
                                             v1::Capabilities* response) {
  return calls_->Run(*context, "GetCapabilities", Access::kRead, [&] {
    response->set_protocol_version(kProtocolVersion);
    response->set_feature_block_version(kFeatureBlockVersion);
    response->set_order_version(kOrderVersion);
    response->set_description_version(kDescriptionVersion);
    response->set_server_version(kServerVersion);
    v1::Limits* limits = response->mutable_limits();
    limits->set_max_message_bytes(limits_.max_message_bytes);
    limits->set_max_keys_per_call(limits_.max_keys_per_call);
    limits->set_max_streams(limits_.max_streams);
    limits->set_max_streams_per_peer(limits_.max_streams_per_peer);
    limits->set_max_calls_per_peer(limits_.max_calls_per_peer);
    limits->set_min_credit_bytes(limits_.min_credit_bytes);
    limits->set_max_credit_bytes(limits_.max_credit_bytes);
    limits->set_max_units_per_claim(limits_.max_units_per_claim);
    limits->set_max_position_ranges(limits_.max_position_ranges);
    limits->set_max_transfer_bytes(limits_.max_transfer_bytes);
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::CreateSet(grpc::ServerContext* context, const v1::CreateSetRequest* request,
                                       v1::CreateSetResponse* response) {
  return calls_->Run(*context, "CreateSet", Access::kWrite, [&]() -> absl::Status {
    AFTERIMAGE_RETURN_IF_ERROR(gate_->CheckServing());
    AFTERIMAGE_ASSIGN_OR_RETURN(SetDescription description, SetDescription::Parse(request->description()));
    AFTERIMAGE_ASSIGN_OR_RETURN(description, catalog_->CreateSet(description));
    response->set_description(description.Serialize());
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::ListSets(grpc::ServerContext* context, const v1::ListSetsRequest*,
                                      v1::ListSetsResponse* response) {
  return calls_->Run(*context, "ListSets", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<SetSummary> sets, catalog_->ListSets());
    for (const SetSummary& set : sets) ToWire(set, response->add_sets());
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::DescribeSet(grpc::ServerContext* context, const v1::DescribeSetRequest* request,
                                         v1::DescribeSetResponse* response) {
  return calls_->Run(
      *context, "DescribeSet", request->contribute() ? Access::kWrite : Access::kRead, [&]() -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
        AFTERIMAGE_ASSIGN_OR_RETURN(
            OpenedSet set,
            sets_->Get(set_id, request->contribute() ? OpenMode::kContribute : OpenMode::kRead));
        response->set_description(set.store->description().Serialize());
        return absl::OkStatus();
      });
}

grpc::Status CatalogService::ListFailures(grpc::ServerContext* context,
                                          const v1::ListFailuresRequest* request,
                                          grpc::ServerWriter<v1::ListFailuresResponse>* writer) {
  return calls_->Run(*context, "ListFailures", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 set_id, DigestFromWire("set_id", request->set_id()));
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<FailureEntry> failures,
                                catalog_->ListFailures(set_id, request->limit()));
    TransferWatch::Guard alive(transfers_, context);
    for (size_t begin = 0; begin < failures.size(); begin += kFailuresPerMessage) {
      v1::ListFailuresResponse response;
      for (size_t i = begin; i < std::min(failures.size(), begin + kFailuresPerMessage); ++i) {
        v1::Failure* failure = response.add_failures();
        ToWire(failures[i].key, failure->mutable_key());
        failure->set_reason(failures[i].reason);
      }
      if (!writer->Write(response)) {
        AFTERIMAGE_RETURN_IF_ERROR(alive.Check());
        return absl::CancelledError("the client has gone");
      }
      alive.Alive();
    }
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::PutManifest(grpc::ServerContext* context,
                                         grpc::ServerReader<v1::PutManifestRequest>* reader,
                                         v1::PutManifestResponse*) {
  return calls_->Run(*context, "PutManifest", Access::kWrite, [&]() -> absl::Status {
    v1::PutManifestRequest first;
    AFTERIMAGE_ASSIGN_OR_RETURN(std::string content, JoinPieces(TransferWatch::Guard(transfers_, context),
                                                                reader, first, limits_.max_transfer_bytes));
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 digest, DigestFromWire("digest", first.digest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(Manifest manifest, Manifest::Parse(AsBytes(content)));
    if (manifest.digest() != digest) {
      return absl::DataLossError(absl::StrCat("the manifest was announced as ", digest.Hex(),
                                              ", what arrived is ", manifest.digest().Hex()));
    }
    return catalog_->PutManifest(manifest);
  });
}

grpc::Status CatalogService::GetManifest(grpc::ServerContext* context, const v1::GetManifestRequest* request,
                                         grpc::ServerWriter<v1::BytesPiece>* writer) {
  return calls_->Run(*context, "GetManifest", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 digest, DigestFromWire("digest", request->digest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const Manifest> manifest, catalog_->GetManifest(digest));
    return SendPieces(TransferWatch::Guard(transfers_, context), manifest->Serialize(), writer);
  });
}

grpc::Status CatalogService::ListManifests(grpc::ServerContext* context, const v1::ListManifestsRequest*,
                                           v1::ListManifestsResponse* response) {
  return calls_->Run(*context, "ListManifests", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<Digest256> digests, catalog_->ListManifests());
    for (const Digest256& digest : digests) response->add_digests(DigestToWire(digest));
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::PutLabels(grpc::ServerContext* context,
                                       grpc::ServerReader<v1::PutLabelsRequest>* reader,
                                       v1::PutLabelsResponse*) {
  return calls_->Run(*context, "PutLabels", Access::kWrite, [&]() -> absl::Status {
    v1::PutLabelsRequest first;
    AFTERIMAGE_ASSIGN_OR_RETURN(std::string content, JoinPieces(TransferWatch::Guard(transfers_, context),
                                                                reader, first, limits_.max_transfer_bytes));
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 manifest, DigestFromWire("manifest", first.manifest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(LabelTable labels, LabelTable::Parse(AsBytes(content)));
    return catalog_->PutLabels(manifest, labels);
  });
}

grpc::Status CatalogService::GetLabels(grpc::ServerContext* context, const v1::GetLabelsRequest* request,
                                       grpc::ServerWriter<v1::BytesPiece>* writer) {
  return calls_->Run(*context, "GetLabels", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 manifest, DigestFromWire("manifest", request->manifest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(LabelTable labels, catalog_->GetLabels(manifest));
    return SendPieces(TransferWatch::Guard(transfers_, context), labels.Serialize(), writer);
  });
}

grpc::Status CatalogService::PutProfile(grpc::ServerContext* context,
                                        grpc::ServerReader<v1::BytesPiece>* reader,
                                        v1::PutProfileResponse* response) {
  return calls_->Run(*context, "PutProfile", Access::kWrite, [&]() -> absl::Status {
    v1::BytesPiece first;
    AFTERIMAGE_ASSIGN_OR_RETURN(std::string content, JoinPieces(TransferWatch::Guard(transfers_, context),
                                                                reader, first, limits_.max_transfer_bytes));
    AFTERIMAGE_ASSIGN_OR_RETURN(FeatureProfile profile, FeatureProfile::Parse(AsBytes(content)));
    response->set_digest(DigestToWire(profile.digest()));
    return catalog_->PutProfile(profile);
  });
}

grpc::Status CatalogService::GetProfile(grpc::ServerContext* context, const v1::GetProfileRequest* request,
                                        grpc::ServerWriter<v1::BytesPiece>* writer) {
  return calls_->Run(*context, "GetProfile", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 digest, DigestFromWire("digest", request->digest()));
    AFTERIMAGE_ASSIGN_OR_RETURN(std::shared_ptr<const FeatureProfile> profile, catalog_->GetProfile(digest));
    return SendPieces(TransferWatch::Guard(transfers_, context), profile->Serialize(), writer);
  });
}

grpc::Status CatalogService::ListProfiles(grpc::ServerContext* context, const v1::ListProfilesRequest*,
                                          v1::ListProfilesResponse* response) {
  return calls_->Run(*context, "ListProfiles", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<Digest256> digests, catalog_->ListProfiles());
    for (const Digest256& digest : digests) response->add_digests(DigestToWire(digest));
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::ClaimChoice(grpc::ServerContext* context, const v1::ClaimChoiceRequest* request,
                                         v1::ClaimChoiceResponse* response) {
  return calls_->Run(*context, "ClaimChoice", Access::kWrite, [&]() -> absl::Status {
    AFTERIMAGE_RETURN_IF_ERROR(gate_->CheckServing());
    AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 digest, DigestFromWire("request", request->request()));
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const ChoiceClaim claim,
        catalog_->ClaimChoice(digest, request->worker(), absl::Seconds(request->lease_seconds())));
    if (claim.set_id.has_value()) response->set_set_id(DigestToWire(*claim.set_id));
    response->set_holder(claim.holder);
    return absl::OkStatus();
  });
}

grpc::Status CatalogService::DecideChoice(grpc::ServerContext* context,
                                          const v1::DecideChoiceRequest* request,
                                          v1::DecideChoiceResponse* response) {
  return calls_->Run(
      *context, "DecideChoice", request->replace() ? Access::kAdmin : Access::kWrite, [&]() -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 digest, DigestFromWire("request", request->request()));
        AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 set_id, DigestFromWire("set_id", request->set_id()));
        const absl::Status exists = sets_->Get(set_id, OpenMode::kRead).status();
        if (absl::IsNotFound(exists)) return exists;  // a damaged one exists
        AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 decided,
                                    catalog_->DecideChoice(digest, set_id, request->replace()));
        response->set_set_id(DigestToWire(decided));
        return absl::OkStatus();
      });
}

grpc::Status CatalogService::SetName(grpc::ServerContext* context, const v1::SetNameRequest* request,
                                     v1::SetNameResponse*) {
  return calls_->Run(
      *context, "SetName", request->replace() ? Access::kAdmin : Access::kWrite, [&]() -> absl::Status {
        AFTERIMAGE_ASSIGN_OR_RETURN(Digest256 target, DigestFromWire("target", request->target()));
        AFTERIMAGE_RETURN_IF_ERROR(CheckExists(target));
        return catalog_->SetName(request->name(), target, request->replace());
      });
}

absl::Status CatalogService::CheckExists(const Digest256& digest) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<Digest256> known, catalog_->ListManifests());
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<Digest256> profiles, catalog_->ListProfiles());
  known.insert(known.end(), profiles.begin(), profiles.end());
  if (std::ranges::find(known, digest) != known.end()) return absl::OkStatus();
  // A damaged set exists, too.
  if (!absl::IsNotFound(sets_->Get(digest, OpenMode::kRead).status())) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat(digest.Hex(), " is no set, manifest or profile of this cache: there is nothing to name"));
}

grpc::Status CatalogService::RemoveName(grpc::ServerContext* context, const v1::RemoveNameRequest* request,
                                        v1::RemoveNameResponse*) {
  return calls_->Run(*context, "RemoveName", Access::kAdmin,
                     [&] { return catalog_->RemoveName(request->name()); });
}

grpc::Status CatalogService::ListNames(grpc::ServerContext* context, const v1::ListNamesRequest*,
                                       v1::ListNamesResponse* response) {
  return calls_->Run(*context, "ListNames", Access::kRead, [&]() -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(auto names, catalog_->ListNames());
    for (const auto& [name, digest] : names) (*response->mutable_names())[name] = DigestToWire(digest);
    return absl::OkStatus();
  });
}

}  // namespace afterimage
