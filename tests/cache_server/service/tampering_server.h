// A server that passes on what another one sends, changed.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "afterimage/v1/catalog.grpc.pb.h"
#include "afterimage/v1/epochs.grpc.pb.h"
#include "proto/wire/versions.h"
#include "tests/cache_server/service/raw_client.h"

namespace afterimage::testing {

// Stands between a client and a server: handshake and epochs alone.
class TamperingServer {
 public:
  using Change = std::function<void(v1::ReadEpochResponse&)>;

  // At "unix:/path"; `behind` must outlive it. `change`: called by one thread at a time.
  TamperingServer(const CacheServer& behind, std::string listen, Change change)
      : client_(behind),
        address_(std::move(listen)),
        change_(std::move(change)),
        catalog_(this),
        epochs_(this) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&catalog_);
    builder.RegisterService(&epochs_);
    server_ = builder.BuildAndStart();
  }
  ~TamperingServer() { server_->Shutdown(std::chrono::system_clock::now()); }

  const std::string& address() const { return address_; }
  // Whether a client has said that it mapped the region.
  bool region_was_mapped() const {
    std::lock_guard lock(mutex_);
    return region_was_mapped_;
  }

 private:
  struct Catalog : v1::Catalog::Service {
    explicit Catalog(TamperingServer* parent) : parent(parent) {}
    grpc::Status GetCapabilities(grpc::ServerContext*, const v1::GetCapabilitiesRequest* request,
                                 v1::Capabilities* response) override {
      grpc::ClientContext context;
      return parent->client_.catalog->GetCapabilities(&context, *request, response);
    }
    TamperingServer* const parent;
  };
  struct Epochs : v1::Epochs::Service {
    explicit Epochs(TamperingServer* parent) : parent(parent) {}
    grpc::Status ReadEpoch(
        grpc::ServerContext* context,
        grpc::ServerReaderWriter<v1::ReadEpochResponse, v1::ReadEpochRequest>* stream) override {
      return parent->Pass(*context, *stream);
    }
    TamperingServer* const parent;
  };

  grpc::Status Pass(grpc::ServerContext& context,
                    grpc::ServerReaderWriter<v1::ReadEpochResponse, v1::ReadEpochRequest>& front) {
    grpc::ClientContext behind_context;
    const auto behind = client_.epochs->ReadEpoch(&behind_context);
    context.AddInitialMetadata(kAcceptedMetadata, "1");
    front.SendInitialMetadata();
    std::thread requests([&] {
      for (v1::ReadEpochRequest request; front.Read(&request);) {
        {
          std::lock_guard lock(mutex_);
          region_was_mapped_ = region_was_mapped_ || request.has_region_mapped();
        }
        behind->Write(request);
      }
      behind->WritesDone();
      if (context.IsCancelled()) behind_context.TryCancel();
    });
    for (v1::ReadEpochResponse response; behind->Read(&response);) {
      change_(response);
      front.Write(response);
    }
    requests.join();
    return behind->Finish();
  }

  RawClient client_;
  const std::string address_;
  const Change change_;
  Catalog catalog_;
  Epochs epochs_;
  mutable std::mutex mutex_;
  bool region_was_mapped_ = false;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace afterimage::testing
