#include "client/remote/connection.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>
#include <thread>

#include "afterimage/v1/catalog.grpc.pb.h"
#include "core/feature/feature_block.h"
#include "tests/cache_server/service/served_cache.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ServedCache;
using testing::StatusIs;

Connection::Options Impatient() {
  Connection::Options options;
  options.retry_for = absl::Milliseconds(100);
  return options;
}

// A server of some other release.
class OtherRelease : public v1::Catalog::Service {
 public:
  grpc::Status GetCapabilities(grpc::ServerContext*, const v1::GetCapabilitiesRequest*,
                               v1::Capabilities* response) override {
    response->set_protocol_version(1);
    response->set_feature_block_version(42);
    response->set_order_version(1);
    response->set_description_version(1);
    response->set_server_version("9.8.7");
    return grpc::Status::OK;
  }
};

std::unique_ptr<grpc::Server> StartPlain(grpc::Service* service, int& port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  if (service != nullptr) builder.RegisterService(service);
  return builder.BuildAndStart();
}

TEST(ConnectionTest, AnotherVersionIsRefusedAndBothAreTold) {
  OtherRelease service;
  int port = 0;
  const std::unique_ptr<grpc::Server> server = StartPlain(&service, port);
  EXPECT_THAT(Connection::Open("grpc://127.0.0.1:" + std::to_string(port), Impatient()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("9.8.7"), HasSubstr("feature block version 42"),
                             HasSubstr("this client has " + std::to_string(kFeatureBlockVersion)))));
}

TEST(ConnectionTest, SomethingElseThatSpeaksGrpcIsToldApart) {
  ServedCache cache;
  int port = 0;
  grpc::Service nothing;
  const std::unique_ptr<grpc::Server> server = StartPlain(&nothing, port);
  if (server == nullptr) GTEST_SKIP() << "gRPC starts no server without a method";
  EXPECT_THAT(
      Connection::Open("grpc://127.0.0.1:" + std::to_string(port), Impatient()),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no afterimage-server of this version")));
}

TEST(ConnectionTest, ASilentAddressIsUnavailableWithTheRemedy) {
  std::string address;
  {
    ServedCache cache;
    address = cache.address();
  }
  EXPECT_THAT(Connection::Open(address, Impatient()),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(address), HasSubstr("afterimage-server --cache"))));
  EXPECT_THAT(Connection::Open("unix:/nowhere/socket", Impatient()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("unix:/nowhere/socket")));
}

TEST(ConnectionTest, WaitsShortlyForAServerThatIsJustStarting) {
  ServedCache cache;
  const std::string address = cache.address();
  cache.StopServer();
  std::thread starter([&] {
    absl::SleepFor(absl::Milliseconds(400));
    cache.StartServer();
  });
  EXPECT_THAT(Connection::Open(address, {}), IsOk());
  starter.join();
}

TEST(ConnectionTest, RefusesWhatIsNoAddress) {
  for (const char* address :
       {"", "localhost:1", "grpc://", "grpc://host", "grpc://a:1,b:2", "grpc://a:1/path", "unix:relative"}) {
    EXPECT_THAT(Connection::Open(address, Impatient()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grpc://HOST:PORT")))
        << address;
  }
}

TEST(ConnectionTest, AnIdleConnectionFindsTheServerThatCameBack) {
  ServedCache cache;
  RemoteCatalog catalog(cache.Connect());
  EXPECT_THAT(catalog.ListSets(), IsOk());
  cache.StopServer();
  cache.StartServer();
  EXPECT_THAT(catalog.ListSets(), IsOk());
}

}  // namespace
}  // namespace afterimage
