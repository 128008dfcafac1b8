#include "client/remote/remote_epoch_source.h"

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cache_server/service/served_cache.h"
#include "tests/conformance/epoch_positions_conformance.h"
#include "tests/conformance/epoch_source_conformance.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {
namespace {

using ::testing::HasSubstr;

// A source with a server of its own between it and the catalog.
class ServedSource : public EpochSource {
 public:
  // `shared`: through a unix socket, with every block in shared memory that finds room there.
  ServedSource(FeatureCatalog* catalog, const EpochReader::Options& options, bool shared = false)
      : reader_(catalog, options) {
    CacheServer::Options server_options;
    if (shared) server_options.listen = "unix:" + (folder_ / "socket").string();
    server_options.limits.min_shared_block_bytes = 1;
    absl::StatusOr<std::unique_ptr<CacheServer>> server =
        CacheServer::Start(catalog, &reader_, server_options);
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
    absl::StatusOr<std::shared_ptr<Connection>> connection = Connection::Open(server_->address(), {});
    EXPECT_THAT(connection, IsOk());
    remote_ = std::make_unique<RemoteEpochSource>(*std::move(connection));
  }

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    return remote_->Open(request);
  }

 private:
  const TemporaryFolder folder_;
  EpochReader reader_;
  std::unique_ptr<CacheServer> server_;
  std::unique_ptr<RemoteEpochSource> remote_;
};

INSTANTIATE_TEST_SUITE_P(Remote, EpochSourceConformance,
                         ::testing::Values(
                             [](FeatureCatalog* catalog) {
                               return std::make_unique<ServedSource>(catalog, EpochReader::Options());
                             },
                             [](FeatureCatalog* catalog) {
                               return std::make_unique<ServedSource>(
                                   catalog, EpochReader::Options{.num_threads = 4, .max_slots = 3});
                             },
                             [](FeatureCatalog* catalog) {
                               return std::make_unique<ServedSource>(catalog, EpochReader::Options(),
                                                                     /*shared=*/true);
                             }));

// Reads frames until the end or an error, giving credit back.
absl::Status Drain(EpochStream& stream, std::vector<EpochFrame>& frames) {
  while (true) {
    absl::StatusOr<std::optional<EpochFrame>> frame = stream.Next();
    if (!frame.ok()) return frame.status();
    if (!frame->has_value()) return absl::OkStatus();
    stream.ReturnCredit((*frame)->CostBytes());
    frames.push_back(*std::move(*frame));
  }
}

TEST(RemoteEpochSourceTest, AWaitForASlowStoreIsTheDisksAndNoLongerThanItWas) {
  ServedCache cache;
  const EpochRequest request = cache.Fill(24);
  ObservedCatalog slow(&cache.catalog());
  slow.observer().before_record = [](const RecordKey&) {
    absl::SleepFor(absl::Milliseconds(5));
    return absl::OkStatus();
  };
  ServedSource source(&slow, {.num_threads = 1});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  StallTimes sum;
  for (int i = 0; i < 24; ++i) {
    const absl::Time begin = absl::Now();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::optional<EpochFrame> frame, stream->Next());
    EXPECT_LE(frame->waited.Total(), absl::Now() - begin + absl::Microseconds(1));
    EXPECT_EQ(frame->server, 0);
    sum += frame->waited;
    stream->ReturnCredit(frame->CostBytes());
  }
  EXPECT_GT(sum[StallPart::kDisk], absl::ZeroDuration());
  EXPECT_EQ(sum[StallPart::kCredit], absl::ZeroDuration());  // there was enough for all
}

// The server's store has verified them; the network has not.
TEST(RemoteEpochSourceTest, WhatCameOverTheWireIsYetToBeVerified) {
  ServedCache cache;
  const EpochRequest request = cache.Fill(8);
  ServedSource source(&cache.catalog(), {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  std::vector<EpochFrame> frames;
  AFTERIMAGE_ASSERT_OK(Drain(*stream, frames));
  ASSERT_FALSE(frames.empty());
  for (const EpochFrame& frame : frames) EXPECT_FALSE(frame.block.verified);
}

TEST(RemoteEpochSourceTest, AServerThatGoesAwayAndComesBackIsReadOnFromTheNextStep) {
  ServedCache cache;
  EpochRequest request = cache.Fill(256);
  request.credit_bytes = 64 << 10;
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(request));
  std::vector<EpochFrame> frames;
  for (int i = 0; i < 20; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
    frames.push_back(*std::move(frame));
  }
  cache.StopServer();
  std::vector<EpochFrame> received_before;
  const absl::Status lost = Drain(*stream, received_before);
  EXPECT_THAT(lost, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("grpc://127.0.0.1:")));
  EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(source.Open(request),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("afterimage-server --cache")));

  cache.StartServer();
  request.step_begin = 20 / request.global_batch;
  absl::StatusOr<std::unique_ptr<EpochStream>> again = absl::UnavailableError("");
  for (int attempt = 0; attempt < 100 && absl::IsUnavailable(again.status()); ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    again = source.Open(request);
  }
  ASSERT_THAT(again, IsOk());
  frames.resize(request.step_begin * request.global_batch);
  ASSERT_THAT(Drain(**again, frames), IsOk());
  ASSERT_EQ(frames.size(), 256);
  for (uint64_t i = 0; i < frames.size(); ++i) EXPECT_EQ(frames[i].position, i);
}

TEST(RemoteEpochSourceTest, CreditIsGivenBackByOtherThreads) {
  ServedCache cache;
  EpochRequest request = cache.Fill(256);
  request.credit_bytes = 32 << 10;
  RemoteEpochSource source(cache.Connect());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(request));
  std::mutex mutex;
  std::deque<uint64_t> held;
  bool done = false;
  std::thread consumer([&] {
    while (true) {
      std::unique_lock lock(mutex);
      if (!held.empty()) {
        const uint64_t cost = held.front();
        held.pop_front();
        lock.unlock();
        stream->ReturnCredit(cost);
      } else if (done) {
        return;
      } else {
        lock.unlock();
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
  });
  uint64_t num_frames = 0;
  absl::StatusOr<std::optional<EpochFrame>> frame = stream->Next();
  for (; frame.ok() && frame->has_value(); frame = stream->Next()) {
    ++num_frames;
    std::lock_guard lock(mutex);
    held.push_back((*frame)->CostBytes());
  }
  {
    std::lock_guard lock(mutex);
    done = true;
  }
  consumer.join();
  EXPECT_THAT(frame, IsOk());
  EXPECT_EQ(num_frames, 256);
}

TEST(RemoteEpochSourceTest, AServerThatOwesFramesAndSendsNoneIsGivenUp) {
  InMemoryFeatureCatalog memory;
  ObservedCatalog catalog(&memory);
  std::atomic<bool> released = false;
  catalog.observer().before_record = [&](const RecordKey&) {
    while (!released) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  EpochReader reader(&catalog, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto server, CacheServer::Start(&catalog, &reader, {}));
  const SetDescription description = MakeSyntheticDescription();
  const Manifest manifest = MakeSyntheticManifest(16);
  AFTERIMAGE_ASSERT_OK(memory.CreateSet(description));
  AFTERIMAGE_ASSERT_OK(memory.PutManifest(manifest));
  Connection::Options options;
  options.stream_timeout = absl::Milliseconds(200);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto connection, Connection::Open(server->address(), options));
  EpochRequest request;
  request.set_id = description.set.Id();
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = 16;
  request.order.mask.num_visible = 5;
  request.global_batch = 4;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, RemoteEpochSource(connection).Open(request));
  EXPECT_THAT(stream->Next(),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("200ms"), HasSubstr("position 0"))));
  released = true;
}

TEST(RemoteEpochSourceTest, AnInterruptedWaitGoesOnAndLosesNothing) {
  ServedCache cache;
  const EpochRequest request = cache.Fill(24);
  ObservedCatalog slow(&cache.catalog());
  std::atomic<bool> may_read = false;
  slow.observer().before_record = [&](const RecordKey&) {
    while (!may_read) absl::SleepFor(absl::Milliseconds(1));
    return absl::OkStatus();
  };
  ServedSource source(&slow, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  for (int i = 0; i < 3; ++i) {
    // Before or in the wait.
    std::thread other([&] { stream->Interrupt(); });
    EXPECT_THAT(stream->Next(), StatusIs(absl::StatusCode::kAborted, HasSubstr("interrupted")));
    other.join();
  }
  may_read = true;
  std::vector<EpochFrame> frames;
  EXPECT_THAT(Drain(*stream, frames), IsOk());
  EXPECT_EQ(frames.size(), 24);
}

}  // namespace
}  // namespace afterimage::testing
