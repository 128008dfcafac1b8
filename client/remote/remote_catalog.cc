#include "client/remote/remote_catalog.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "afterimage/v1/catalog.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "client/remote/remote_feature_store.h"
#include "client/remote/remote_unit_ledger.h"
#include "client/remote/remote_unit_publisher.h"
#include "core/base/status_macros.h"
#include "proto/wire/convert.h"

namespace afterimage {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// Sends `content` in pieces through a client-streaming call; `name` sets the field of the first message that
// says what it is.
template <typename Request, typename Response, typename Start, typename Name>
absl::Status SendPieces(const Connection& connection, const std::string& content, Start start, Name name) {
  if (content.size() > connection.limits().max_transfer_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(content.size(), " bytes are more than the server takes: max_transfer_bytes is ",
                     connection.limits().max_transfer_bytes));
  }
  const WaitTeller::Wait wait = connection.WaitFor("an answer");
  return RetryWhileUnavailable(connection, [&] {
    grpc::ClientContext context;
    PrepareTransfer(connection, context, content.size());
    Response response;
    auto writer = start(&context, &response);
    for (size_t begin = 0; begin == 0 || begin < content.size(); begin += kPieceBytes) {
      Request piece;
      if (begin == 0) name(piece);
      piece.set_content(content.substr(begin, kPieceBytes));
      if (!writer->Write(piece)) break;
    }
    writer->WritesDone();
    return StatusOfCall(connection, writer->Finish());
  });
}

// Joins the pieces of a server-streaming call.
template <typename Start>
absl::StatusOr<std::string> JoinPieces(const Connection& connection, Start start) {
  std::string content;
  const WaitTeller::Wait wait = connection.WaitFor("an answer");
  AFTERIMAGE_RETURN_IF_ERROR(RetryWhileUnavailable(connection, [&] {
    content.clear();
    grpc::ClientContext context;
    PrepareTransfer(connection, context, connection.limits().max_transfer_bytes);
    auto reader = start(&context);
    for (v1::BytesPiece piece; reader->Read(&piece);) content += piece.content();
    return StatusOfCall(connection, reader->Finish());
  }));
  return content;
}

}  // namespace

struct RemoteCatalog::Stub {
  std::unique_ptr<v1::Catalog::Stub> catalog;
};

RemoteCatalog::RemoteCatalog(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(new Stub{v1::Catalog::NewStub(connection_->channel())}) {}

RemoteCatalog::~RemoteCatalog() = default;

absl::StatusOr<SetDescription> RemoteCatalog::CreateSet(const SetDescription& description) {
  v1::CreateSetRequest request;
  request.set_description(description.Serialize());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto response,
                              CallUnary<v1::CreateSetResponse>(*connection_, *stub_->catalog,
                                                               &v1::Catalog::Stub::CreateSet, request));
  return SetDescription::Parse(response.description());
}

absl::StatusOr<std::vector<SetSummary>> RemoteCatalog::ListSets() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto response, CallUnary<v1::ListSetsResponse>(
                                                       *connection_, *stub_->catalog,
                                                       &v1::Catalog::Stub::ListSets, v1::ListSetsRequest()));
  std::vector<SetSummary> sets;
  for (const v1::SetSummary& wire : response.sets()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(SetSummary set, FromWire(wire));
    sets.push_back(std::move(set));
  }
  return sets;
}

absl::StatusOr<OpenedSet> RemoteCatalog::OpenSet(const Digest256& set_id, OpenMode mode) {
  v1::DescribeSetRequest request;
  request.set_set_id(DigestToWire(set_id));
  request.set_contribute(mode == OpenMode::kContribute);
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto response,
                              CallUnary<v1::DescribeSetResponse>(*connection_, *stub_->catalog,
                                                                 &v1::Catalog::Stub::DescribeSet, request));
  AFTERIMAGE_ASSIGN_OR_RETURN(const SetDescription description,
                              SetDescription::Parse(response.description()));
  if (description.set.Id() != set_id) {
    return absl::DataLossError(absl::StrCat("the server at ", connection_->address(), " described set ",
                                            description.set.Id().Hex(), " when asked for ", set_id.Hex()));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(auto profile, ProfileOfSet(*this, description));
  OpenedSet opened;
  opened.id = set_id;
  opened.store = std::make_shared<RemoteFeatureStore>(connection_, set_id, description, std::move(profile));
  if (mode == OpenMode::kContribute) {
    opened.ledger = std::make_shared<RemoteUnitLedger>(connection_, set_id);
    opened.publisher = std::make_shared<RemoteUnitPublisher>(connection_, set_id, description);
  }
  return opened;
}

absl::StatusOr<std::vector<FailureEntry>> RemoteCatalog::ListFailures(const Digest256& set_id, size_t limit) {
  v1::ListFailuresRequest request;
  request.set_set_id(DigestToWire(set_id));
  request.set_limit(limit);
  std::vector<FailureEntry> failures;
  const WaitTeller::Wait wait = connection_->WaitFor("an answer");
  AFTERIMAGE_RETURN_IF_ERROR(RetryWhileUnavailable(*connection_, [&]() -> absl::Status {
    failures.clear();
    grpc::ClientContext context;
    PrepareShortCall(*connection_, context);
    auto reader = stub_->catalog->ListFailures(&context, request);
    absl::Status bad;
    for (v1::ListFailuresResponse response; reader->Read(&response);) {
      for (const v1::Failure& failure : response.failures()) {
        absl::StatusOr<RecordKey> key = FromWire(failure.key());
        if (!key.ok()) {
          bad = key.status();
        } else {
          failures.push_back({*key, failure.reason()});
        }
      }
    }
    AFTERIMAGE_RETURN_IF_ERROR(StatusOfCall(*connection_, reader->Finish()));
    return bad;
  }));
  return failures;
}

absl::Status RemoteCatalog::PutManifest(const Manifest& manifest) {
  return SendPieces<v1::PutManifestRequest, v1::PutManifestResponse>(
      *connection_, manifest.Serialize(),
      [&](grpc::ClientContext* context, v1::PutManifestResponse* response) {
        return stub_->catalog->PutManifest(context, response);
      },
      [&](v1::PutManifestRequest& first) { first.set_digest(DigestToWire(manifest.digest())); });
}

absl::StatusOr<std::shared_ptr<const Manifest>> RemoteCatalog::GetManifest(const Digest256& digest) {
  v1::GetManifestRequest request;
  request.set_digest(DigestToWire(digest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string content,
                              JoinPieces(*connection_, [&](grpc::ClientContext* context) {
                                return stub_->catalog->GetManifest(context, request);
                              }));
  AFTERIMAGE_ASSIGN_OR_RETURN(Manifest manifest, Manifest::Parse(AsBytes(content)));
  if (manifest.digest() != digest) {
    return absl::DataLossError(absl::StrCat("the server at ", connection_->address(), " sent manifest ",
                                            manifest.digest().Hex(), " when asked for ", digest.Hex()));
  }
  return std::make_shared<const Manifest>(std::move(manifest));
}

absl::StatusOr<std::vector<Digest256>> RemoteCatalog::ListManifests() {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::ListManifestsResponse>(*connection_, *stub_->catalog, &v1::Catalog::Stub::ListManifests,
                                           v1::ListManifestsRequest()));
  std::vector<Digest256> digests;
  for (const std::string& bytes : response.digests()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 digest, DigestFromWire("digests", bytes));
    digests.push_back(digest);
  }
  return digests;
}

absl::Status RemoteCatalog::PutLabels(const Digest256& manifest, const LabelTable& labels) {
  return SendPieces<v1::PutLabelsRequest, v1::PutLabelsResponse>(
      *connection_, labels.Serialize(),
      [&](grpc::ClientContext* context, v1::PutLabelsResponse* response) {
        return stub_->catalog->PutLabels(context, response);
      },
      [&](v1::PutLabelsRequest& first) { first.set_manifest(DigestToWire(manifest)); });
}

absl::StatusOr<LabelTable> RemoteCatalog::GetLabels(const Digest256& manifest) {
  v1::GetLabelsRequest request;
  request.set_manifest(DigestToWire(manifest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string content,
                              JoinPieces(*connection_, [&](grpc::ClientContext* context) {
                                return stub_->catalog->GetLabels(context, request);
                              }));
  return LabelTable::Parse(AsBytes(content));
}

absl::Status RemoteCatalog::PutProfile(const FeatureProfile& profile) {
  return SendPieces<v1::BytesPiece, v1::PutProfileResponse>(
      *connection_, profile.Serialize(),
      [&](grpc::ClientContext* context, v1::PutProfileResponse* response) {
        return stub_->catalog->PutProfile(context, response);
      },
      [](v1::BytesPiece&) {});
}

absl::StatusOr<std::shared_ptr<const FeatureProfile>> RemoteCatalog::GetProfile(const Digest256& digest) {
  v1::GetProfileRequest request;
  request.set_digest(DigestToWire(digest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string content,
                              JoinPieces(*connection_, [&](grpc::ClientContext* context) {
                                return stub_->catalog->GetProfile(context, request);
                              }));
  AFTERIMAGE_ASSIGN_OR_RETURN(FeatureProfile profile, FeatureProfile::Parse(AsBytes(content)));
  if (profile.digest() != digest) {
    return absl::DataLossError(absl::StrCat("the server at ", connection_->address(), " sent profile ",
                                            profile.digest().Hex(), " when asked for ", digest.Hex()));
  }
  return std::make_shared<const FeatureProfile>(std::move(profile));
}

absl::StatusOr<std::vector<Digest256>> RemoteCatalog::ListProfiles() {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::ListProfilesResponse>(*connection_, *stub_->catalog, &v1::Catalog::Stub::ListProfiles,
                                          v1::ListProfilesRequest()));
  std::vector<Digest256> digests;
  for (const std::string& bytes : response.digests()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const Digest256 digest, DigestFromWire("digests", bytes));
    digests.push_back(digest);
  }
  return digests;
}

absl::StatusOr<ChoiceClaim> RemoteCatalog::ClaimChoice(const Digest256& request, const std::string& worker,
                                                       absl::Duration lease_duration) {
  v1::ClaimChoiceRequest wire;
  wire.set_request(DigestToWire(request));
  wire.set_worker(worker);
  wire.set_lease_seconds(absl::ToDoubleSeconds(lease_duration));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto response,
                              CallUnary<v1::ClaimChoiceResponse>(*connection_, *stub_->catalog,
                                                                 &v1::Catalog::Stub::ClaimChoice, wire));
  ChoiceClaim claim;
  claim.holder = response.holder();
  if (response.set_id().empty()) return claim;
  AFTERIMAGE_ASSIGN_OR_RETURN(claim.set_id, DigestFromWire("set_id", response.set_id()));
  return claim;
}

absl::StatusOr<Digest256> RemoteCatalog::DecideChoice(const Digest256& request, const Digest256& set_id,
                                                      bool replace) {
  v1::DecideChoiceRequest wire;
  wire.set_request(DigestToWire(request));
  wire.set_set_id(DigestToWire(set_id));
  wire.set_replace(replace);
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto response,
                              CallUnary<v1::DecideChoiceResponse>(*connection_, *stub_->catalog,
                                                                  &v1::Catalog::Stub::DecideChoice, wire));
  return DigestFromWire("set_id", response.set_id());
}

absl::Status RemoteCatalog::SetName(const std::string& name, const Digest256& target, bool replace) {
  v1::SetNameRequest request;
  request.set_name(name);
  request.set_target(DigestToWire(target));
  request.set_replace(replace);
  return CallUnary<v1::SetNameResponse>(*connection_, *stub_->catalog, &v1::Catalog::Stub::SetName, request)
      .status();
}

absl::Status RemoteCatalog::RemoveName(const std::string& name) {
  v1::RemoveNameRequest request;
  request.set_name(name);
  return CallUnary<v1::RemoveNameResponse>(*connection_, *stub_->catalog, &v1::Catalog::Stub::RemoveName,
                                           request)
      .status();
}

absl::StatusOr<std::map<std::string, Digest256>> RemoteCatalog::ListNames() {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto response,
      CallUnary<v1::ListNamesResponse>(*connection_, *stub_->catalog, &v1::Catalog::Stub::ListNames,
                                       v1::ListNamesRequest()));
  std::map<std::string, Digest256> names;
  for (const auto& [name, bytes] : response.names()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(names[name], DigestFromWire("names", bytes));
  }
  return names;
}

}  // namespace afterimage
