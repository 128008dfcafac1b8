#include "client/remote/remote_catalog.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "afterimage/v1/catalog.grpc.pb.h"
#include "client/remote/remote_call.h"
#include "core/feature/feature_block.h"
#include "gmock/gmock.h"
#include "proto/wire/versions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using testing::IsOk;
using testing::StatusIs;

constexpr absl::Duration kCallTimeout = absl::Milliseconds(300);

// Sends a manifest in two pieces, the second one only after more than the time of a call.
class SlowServer : public v1::Catalog::Service {
 public:
  SlowServer(const Manifest& manifest, uint64_t max_transfer_bytes)
      : content_(manifest.Serialize()), max_transfer_bytes_(max_transfer_bytes) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~SlowServer() override { server_->Shutdown(); }

  RemoteCatalog Connect() const {
    absl::StatusOr<std::shared_ptr<Connection>> connection =
        Connection::Open("grpc://127.0.0.1:" + std::to_string(port_),
                         {.call_timeout = kCallTimeout, .retry_for = absl::Milliseconds(10)});
    EXPECT_THAT(connection.status(), IsOk());
    return RemoteCatalog(*std::move(connection));
  }

  grpc::Status GetCapabilities(grpc::ServerContext*, const v1::GetCapabilitiesRequest*,
                               v1::Capabilities* response) override {
    response->set_protocol_version(kProtocolVersion);
    response->set_feature_block_version(kFeatureBlockVersion);
    response->set_order_version(kOrderVersion);
    response->set_description_version(kDescriptionVersion);
    response->mutable_limits()->set_max_transfer_bytes(max_transfer_bytes_);
    return grpc::Status::OK;
  }
  grpc::Status GetManifest(grpc::ServerContext*, const v1::GetManifestRequest*,
                           grpc::ServerWriter<v1::BytesPiece>* writer) override {
    v1::BytesPiece piece;
    piece.set_content(content_.substr(0, 10));
    writer->Write(piece);
    absl::SleepFor(2 * kCallTimeout);
    piece.set_content(content_.substr(10));
    writer->Write(piece);
    return grpc::Status::OK;
  }

 private:
  const std::string content_;
  const uint64_t max_transfer_bytes_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST(RemoteCatalogTest, WhatIsLargeMayTakeLongerThanACall) {
  const Manifest manifest = testing::MakeSyntheticManifest(5);
  const SlowServer server(manifest, /*max_transfer_bytes=*/60 * kSlowestTransfer);
  const absl::StatusOr<std::shared_ptr<const Manifest>> got = server.Connect().GetManifest(manifest.digest());
  ASSERT_THAT(got.status(), IsOk());
  EXPECT_EQ((*got)->digest(), manifest.digest());
}

TEST(RemoteCatalogTest, ATransferHasADeadline) {
  const Manifest manifest = testing::MakeSyntheticManifest(5);
  const SlowServer server(manifest, /*max_transfer_bytes=*/1);
  EXPECT_THAT(server.Connect().GetManifest(manifest.digest()).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

}  // namespace
}  // namespace afterimage
