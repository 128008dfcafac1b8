// Requests that no client of ours would send, given to the handlers in process: whatever they hold, an answer
// with a status of ours, and never a crash. The first byte says which call.
#include <google/protobuf/message.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/server_context.h>

#include <cstdlib>
#include <memory>

#include "afterimage/v1/epochs.pb.h"
#include "afterimage/v1/records.pb.h"
#include "cache_server/service/call_runner.h"
#include "cache_server/service/catalog_service.h"
#include "cache_server/service/open_sets.h"
#include "cache_server/service/peer_limits.h"
#include "cache_server/service/stream_gate.h"
#include "cache_server/service/units_service.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_reader.h"
#include "proto/wire/convert.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

// A small cache and the services over it.
class World {
 public:
  World() {
    google::protobuf::SetLogHandler(nullptr);  // a text that is no UTF-8 is told a thousand times
    const bool made = catalog.CreateSet(description).ok() && catalog.PutManifest(manifest).ok();
    const absl::StatusOr<OpenedSet> set = catalog.OpenSet(description.set.Id(), OpenMode::kContribute);
    if (!made || !set.ok() || !testing::FillSet(*set, manifest.digest(), 2).ok()) std::abort();
  }

  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(12);
  InMemoryFeatureCatalog catalog;
  EpochReader epochs{&catalog, {}};
  ServerMetrics metrics;
  CallLog log{{}};
  PeerLimits peers{0, 0, &metrics};
  CallRunner calls{nullptr, &peers, &metrics, &log};
  StreamGate gate{4, &metrics};
  OpenSets sets{&catalog};
  TransferWatch transfers{absl::InfiniteDuration()};
  CatalogService catalog_service{&catalog, &sets, &gate, &transfers, &calls, {}};
  UnitsService units_service{&sets, &gate, &transfers, &calls, {}};
};

// Made anew now and then: what requests create would fill the memory of a long run.
World& TheWorld(bool may_renew = false) {
  constexpr int kRequestsPerWorld = 20'000;
  static std::unique_ptr<World> world;
  static int num_requests = 0;
  if (world == nullptr || (may_renew && ++num_requests % kRequestsPerWorld == 0))
    world = std::make_unique<World>();
  return *world;
}

template <typename Service, typename Request, typename Response>
void Call(Service& service, grpc::Status (Service::*method)(grpc::ServerContext*, const Request*, Response*),
          const std::string& bytes) {
  Request request;
  if (!request.ParseFromString(bytes)) return;
  grpc::ServerContext context;
  Response response;
  const grpc::Status status = (service.*method)(&context, &request, &response);
  // Unknown and Internal would be faults of ours.
  if (status.error_code() == grpc::StatusCode::UNKNOWN || status.error_code() == grpc::StatusCode::INTERNAL)
    std::abort();
}

void ReadEpoch(const std::string& bytes) {
  v1::EpochRequest wire;
  if (!wire.ParseFromString(bytes)) return;
  const absl::StatusOr<EpochRequest> request = FromWire(wire);
  if (!request.ok()) return;
  const absl::StatusOr<std::unique_ptr<EpochStream>> stream = TheWorld().epochs.Open(*request);
  if (!stream.ok()) return;
  for (int i = 0; i < 3; ++i) {
    const absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
    if (!frame.ok() || !frame->has_value()) return;
  }
}

void ReadRecords(const std::string& bytes) {
  v1::ReadRecordsRequest wire;
  if (!wire.ParseFromString(bytes)) return;
  const absl::StatusOr<Digest256> set_id = DigestFromWire("set_id", wire.set_id());
  const absl::StatusOr<Selection> selection = FromWire(wire.selection());
  const absl::StatusOr<MaskSpec> mask = MaskFromWire(wire.mask_spec());
  if (!set_id.ok() || !selection.ok() || !mask.ok()) return;
  std::vector<RecordKey> keys;
  for (const v1::RecordKey& key : wire.keys()) {
    const absl::StatusOr<RecordKey> one = FromWire(key);
    if (!one.ok()) return;
    keys.push_back(*one);
  }
  const absl::StatusOr<OpenedSet> set = TheWorld().sets.Get(*set_id, OpenMode::kRead);
  if (!set.ok()) return;
  set->store->Read(keys, *selection, {*mask, wire.mask_index()}, [](size_t, RecordResult) { return true; })
      .IgnoreError();
}

// What the calls that take bytes in pieces do with them when they are whole.
void TakeTransfer(const std::string& bytes) {
  if (bytes.empty()) return;
  const std::string content = bytes.substr(1);
  InMemoryFeatureCatalog& catalog = TheWorld().catalog;
  switch (bytes[0] % 4) {
    case 0:
      if (const auto manifest = Manifest::Parse(AsBytes(content)); manifest.ok())
        catalog.PutManifest(*manifest).IgnoreError();
      return;
    case 1:
      if (const auto labels = LabelTable::Parse(AsBytes(content)); labels.ok())
        catalog.PutLabels(TheWorld().manifest.digest(), *labels).IgnoreError();
      return;
    case 2:
      if (const auto profile = FeatureProfile::Parse(AsBytes(content)); profile.ok())
        catalog.PutProfile(*profile).IgnoreError();
      return;
    default:
      UnitMetadata::Parse(content).status().IgnoreError();
  }
}

constexpr int kNumCalls = 13;
constexpr int kTransfer = 12;  // the one whose bytes are no message

void Dispatch(int call, const std::string& bytes) {
  World& world = TheWorld(/*may_renew=*/true);
  switch (call % kNumCalls) {
    case 0:
      return ReadEpoch(bytes);
    case 1:
      return ReadRecords(bytes);
    case 2:
      return Call(world.catalog_service, &CatalogService::CreateSet, bytes);
    case 3:
      return Call(world.catalog_service, &CatalogService::DescribeSet, bytes);
    case 4:
      return Call(world.catalog_service, &CatalogService::SetName, bytes);
    case 5:
      return Call(world.catalog_service, &CatalogService::RemoveName, bytes);
    case 6:
      return Call(world.units_service, &UnitsService::Claim, bytes);
    case 7:
      return Call(world.units_service, &UnitsService::Renew, bytes);
    case 8:
      return Call(world.units_service, &UnitsService::Progress, bytes);
    case 9:
      return Call(world.units_service, &UnitsService::Release, bytes);
    case 10:
      return Call(world.catalog_service, &CatalogService::ClaimChoice, bytes);
    case 11:
      return Call(world.catalog_service, &CatalogService::DecideChoice, bytes);
    default:
      return TakeTransfer(bytes);
  }
}

std::unique_ptr<google::protobuf::Message> NewRequest(int call) {
  switch (call % kNumCalls) {
    case 0:
      return std::make_unique<v1::EpochRequest>();
    case 1:
      return std::make_unique<v1::ReadRecordsRequest>();
    case 2:
      return std::make_unique<v1::CreateSetRequest>();
    case 3:
      return std::make_unique<v1::DescribeSetRequest>();
    case 4:
      return std::make_unique<v1::SetNameRequest>();
    case 5:
      return std::make_unique<v1::RemoveNameRequest>();
    case 6:
      return std::make_unique<v1::ClaimRequest>();
    case 7:
      return std::make_unique<v1::RenewRequest>();
    case 8:
      return std::make_unique<v1::ProgressRequest>();
    case 9:
      return std::make_unique<v1::ReleaseRequest>();
    case 10:
      return std::make_unique<v1::ClaimChoiceRequest>();
    case 11:
      return std::make_unique<v1::DecideChoiceRequest>();
    default:
      return nullptr;
  }
}

OrderSpec TheOrder() {
  OrderSpec order;
  order.manifest = TheWorld().manifest.digest();
  order.num_occurrences = TheWorld().manifest.num_occurrences();
  order.num_view_seeds = 2;
  order.mask.num_visible = 5;
  return order;
}

std::string Input(int call, const google::protobuf::MessageLite& request) {
  return std::string(1, static_cast<char>(call)) + request.SerializeAsString();
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  const World& world = TheWorld();
  const std::string set_id = DigestToWire(world.description.set.Id());
  const std::string manifest = DigestToWire(world.manifest.digest());
  EpochRequest epoch;
  epoch.set_id = world.description.set.Id();
  epoch.order = TheOrder();
  epoch.global_batch = 4;
  epoch.selection.levels = {3};
  epoch.selection.tokens = Selection::Tokens::kMask;
  v1::EpochRequest epoch_wire;
  ToWire(epoch, &epoch_wire);
  v1::ReadRecordsRequest records;
  records.set_set_id(set_id);
  for (const ImageKey& key : world.manifest.keys()) ToWire(RecordKey{key, 0}, records.add_keys());
  ToWire(epoch.selection, records.mutable_selection());
  records.set_mask_spec(MaskToWire(epoch.order.mask));
  v1::CreateSetRequest create;
  create.set_description(world.description.Serialize());
  v1::DescribeSetRequest describe;
  describe.set_set_id(set_id);
  describe.set_contribute(true);
  v1::SetNameRequest name;
  name.set_name("a-name");
  name.set_target(set_id);
  v1::SetNameRequest hostile = name;
  hostile.set_name(std::string("../../etc\0/passwd", 17));
  v1::RemoveNameRequest remove;
  remove.set_name("a-name");
  v1::ClaimRequest claim;
  claim.set_set_id(set_id);
  claim.set_manifest(manifest);
  claim.set_num_view_seeds(2);
  claim.set_worker("w");
  claim.set_max_units(4);
  claim.set_lease_duration_us(1000);
  v1::RenewRequest renew;
  renew.set_set_id(set_id);
  renew.set_lease_duration_us(1000);
  v1::ProgressRequest progress;
  progress.set_set_id(set_id);
  progress.set_manifest(manifest);
  progress.set_num_view_seeds(2);
  v1::ReleaseRequest release;
  release.set_set_id(set_id);
  release.mutable_lease()->mutable_unit()->set_manifest(manifest);
  v1::ClaimChoiceRequest claim_choice;
  claim_choice.set_request(set_id);
  claim_choice.set_worker("w");
  claim_choice.set_lease_seconds(1);
  v1::DecideChoiceRequest decide_choice;
  decide_choice.set_request(set_id);
  decide_choice.set_set_id(set_id);
  v1::EpochRequest positions = epoch_wire;
  positions.clear_num_ranks();
  positions.clear_step_end();
  for (const uint64_t begin : {1, 5}) {
    v1::PositionRange* const range = positions.add_positions();
    range->set_begin(begin);
    range->set_end(begin + 2);
  }
  LabelTable labels;
  labels.labels.assign(world.manifest.num_occurrences(), 1);
  labels.class_names = {"one", "other"};
  const auto transfer = [](char what, const std::string& content) {
    return std::string({static_cast<char>(kTransfer), what}) + content;
  };
  return {Input(0, epoch_wire),
          Input(0, positions),
          Input(1, records),
          Input(2, create),
          Input(3, describe),
          Input(4, name),
          Input(4, hostile),
          Input(5, remove),
          Input(6, claim),
          Input(7, renew),
          Input(8, progress),
          Input(9, release),
          Input(10, claim_choice),
          Input(11, decide_choice),
          transfer(0, world.manifest.Serialize()),
          transfer(1, labels.Serialize()),
          transfer(2, testing::MakeSyntheticProfile(world.description).Serialize()),
          transfer(3, testing::MakeSyntheticMetadata("w").Serialize())};
}

// A request for a set that there is not gets no further than its id: put the real one back, and the real
// order.
void ResealForFuzzing(std::string& input) {
  if (input.empty()) return;
  const std::unique_ptr<google::protobuf::Message> request = NewRequest(static_cast<uint8_t>(input[0]));
  if (request == nullptr || !request->ParsePartialFromString(input.substr(1))) return;
  const google::protobuf::Reflection* const reflection = request->GetReflection();
  const auto restore = [&](const char* name, const std::string& value) {
    const google::protobuf::FieldDescriptor* const field = request->GetDescriptor()->FindFieldByName(name);
    if (field != nullptr) reflection->SetString(request.get(), field, value);
  };
  restore("set_id", DigestToWire(TheWorld().description.set.Id()));
  restore("manifest", DigestToWire(TheWorld().manifest.digest()));
  restore("order", TheOrder().ToCanonical().dump());
  input = Input(static_cast<uint8_t>(input[0]), *request);
}

}  // namespace afterimage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) afterimage::Dispatch(data[0], std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
