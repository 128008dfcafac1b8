// A client that keeps to nothing but the protocol.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/sync_stream.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "afterimage/v1/catalog.grpc.pb.h"
#include "afterimage/v1/epochs.grpc.pb.h"
#include "afterimage/v1/records.grpc.pb.h"
#include "afterimage/v1/units.grpc.pb.h"
#include "proto/wire/grpc_status.h"
#include "tests/cache_server/service/served_cache.h"

namespace afterimage::testing {

struct RawClient {
  explicit RawClient(const ServedCache& cache) : RawClient(cache.server()) {}
  explicit RawClient(const CacheServer& server, const grpc::ChannelArguments& arguments = {})
      : channel(grpc::CreateCustomChannel(
            server.port() == 0 ? server.address() : "127.0.0.1:" + std::to_string(server.port()),
            grpc::InsecureChannelCredentials(), arguments)) {}
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Catalog::Stub> catalog = v1::Catalog::NewStub(channel);
  std::unique_ptr<v1::Records::Stub> records = v1::Records::NewStub(channel);
  std::unique_ptr<v1::Epochs::Stub> epochs = v1::Epochs::NewStub(channel);
  std::unique_ptr<v1::Units::Stub> units = v1::Units::NewStub(channel);
};

inline absl::Status StatusOf(const grpc::Status& status) { return FromGrpcStatus(status, "test"); }

// True once `condition` holds; gives up after some seconds.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace afterimage::testing
