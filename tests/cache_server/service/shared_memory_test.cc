// Epochs through memory that server and client share.
#include "core/base/shared_memory.h"

#include <fcntl.h>
#include <grpcpp/client_context.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/remote/remote_usage.h"
#include "gmock/gmock.h"
#include "proto/wire/convert.h"
#include "tests/cache_server/service/raw_client.h"
#include "tests/cache_server/service/raw_epoch_stream.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/cache_server/service/tampering_server.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kNumRecords = 40;
// Of 70 KB.
const SyntheticOptions kLarge = {.levels = {1, 2, 3, 4}, .width = 256, .codec = Codec::kF32};
constexpr uint64_t kCreditBytes = 256 << 10;

// Regions that this process has open, as server or as client.
int NumOpenRegions() {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    count += fs::read_symlink(entry.path(), ignored).string().rfind("/memfd:afterimage", 0) == 0;
  }
  return count;
}

class SharedMemoryStreamTest : public ::testing::Test {
 protected:
  // While there is a channel, gRPC does not end, which may take it ten seconds after each test.
  static void SetUpTestSuite() {
    static const auto* const channel = new std::shared_ptr<grpc::Channel>(
        grpc::CreateChannel("unix:/nowhere", grpc::InsecureChannelCredentials()));
    ASSERT_NE(*channel, nullptr);
  }
  void SetUp() override { Serve({}); }

  void Serve(const ServiceLimits& limits) {
    cache_.reset();
    CacheServer::Options options;
    options.listen = "unix:" + (folder_ / "socket").string();
    options.limits = limits;
    cache_ = std::make_unique<ServedCache>(options);
    request_ = cache_->Fill(kNumRecords, 1, kLarge);
    request_.credit_bytes = kCreditBytes;
  }

  ServerUsage Usage() const {
    const absl::StatusOr<ServerUsage> usage = RemoteUsage(*cache_->Connect());
    EXPECT_THAT(usage, IsOk());
    return usage.value_or(ServerUsage());
  }

  // The epoch as the catalog itself gives it.
  std::vector<std::string> Wanted() const {
    std::vector<std::string> blocks;
    EpochRequest request = request_;
    request.credit_bytes = EpochRequest().credit_bytes;
    AFTERIMAGE_EXPECT_OK(Read(cache_->local_source(), request, [&](EpochFrame frame) {
      blocks.emplace_back(frame.block.bytes.begin(), frame.block.bytes.end());
      return frame.CostBytes();
    }));
    return blocks;
  }
  // `take` says what credit is given back when it returns.
  static absl::Status Read(EpochSource& source, const EpochRequest& request,
                           const std::function<uint64_t(EpochFrame)>& take) {
    absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(request);
    if (!stream.ok()) return stream.status();
    while (true) {
      absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      if (!frame.ok()) return frame.status();
      if (!frame->has_value()) return absl::OkStatus();
      (*stream)->ReturnCredit(take(**std::move(frame)));
    }
  }
  // Reads the epoch at an address, each frame gone before the next is asked for.
  absl::Status ReadAt(const std::string& address, std::vector<std::string>& blocks,
                      const Connection::Options& options = {}) const {
    absl::StatusOr<std::shared_ptr<Connection>> connection = Connection::Open(address, options);
    if (!connection.ok()) return connection.status();
    RemoteEpochSource source(*connection);
    return Read(source, request_, [&](EpochFrame frame) {
      blocks.emplace_back(frame.block.bytes.begin(), frame.block.bytes.end());
      return frame.CostBytes();
    });
  }

  const TemporaryFolder folder_;
  std::unique_ptr<ServedCache> cache_;
  EpochRequest request_;
};

TEST_F(SharedMemoryStreamTest, RecordsAreTheSameAndDoNotGoThroughTheSocket) {
  std::vector<std::string> blocks;
  AFTERIMAGE_ASSERT_OK(ReadAt(cache_->address(), blocks));
  EXPECT_EQ(blocks, Wanted());
  const ServerUsage usage = Usage();
  EXPECT_GT(usage.sent_bytes, kNumRecords * 70'000);
  // What came before the client had mapped the region: its credit and a frame, at most.
  EXPECT_GE(usage.shared_bytes + kCreditBytes + 100'000, usage.sent_bytes);
}

TEST_F(SharedMemoryStreamTest, AServerOrAClientThatWantsNoneReadsThroughTheSocket) {
  std::vector<std::string> by_client, by_server;
  AFTERIMAGE_ASSERT_OK(ReadAt(cache_->address(), by_client, {.shared_memory = false}));
  EXPECT_EQ(by_client, Wanted());
  EXPECT_EQ(Usage().shared_bytes, 0);
  ServiceLimits limits;
  limits.max_shared_bytes = 0;
  Serve(limits);
  AFTERIMAGE_ASSERT_OK(ReadAt(cache_->address(), by_server));
  EXPECT_EQ(by_server, Wanted());
  EXPECT_EQ(Usage().shared_bytes, 0);
}

TEST_F(SharedMemoryStreamTest, SmallRecordsGoThroughTheSocket) {
  ServiceLimits limits;
  limits.min_shared_block_bytes = 100'000;
  Serve(limits);
  std::vector<std::string> blocks;
  AFTERIMAGE_ASSERT_OK(ReadAt(cache_->address(), blocks));
  EXPECT_EQ(blocks, Wanted());
  EXPECT_EQ(Usage().shared_bytes, 0);
}

TEST_F(SharedMemoryStreamTest, FramesThatAreHeldTakeTheRoomAndTheOthersComeThroughTheSocket) {
  RemoteEpochSource source(cache_->Connect());
  std::vector<EpochFrame> held;
  AFTERIMAGE_ASSERT_OK(Read(source, request_, [&](EpochFrame frame) {
    held.push_back(std::move(frame));
    return held.back().CostBytes();
  }));
  const std::vector<std::string> wanted = Wanted();
  ASSERT_EQ(held.size(), wanted.size());
  for (size_t i = 0; i < held.size(); ++i)
    EXPECT_EQ(std::string(held[i].block.bytes.begin(), held[i].block.bytes.end()), wanted[i]) << i;
  const ServerUsage usage = Usage();
  EXPECT_GT(usage.shared_bytes, 0);
  EXPECT_LT(usage.shared_bytes, usage.sent_bytes / 2);
}

TEST_F(SharedMemoryStreamTest, FramesAreReadableWhenTheServerHasGone) {
  RemoteEpochSource source(cache_->Connect());
  std::vector<std::string> wanted = Wanted();
  std::vector<EpochFrame> last;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto stream, source.Open(request_));
  for (uint64_t i = 0; i < kNumRecords; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::optional<EpochFrame> frame, stream->Next());
    ASSERT_TRUE(frame.has_value());
    stream->ReturnCredit(frame->CostBytes());
    if (i + 3 >= kNumRecords) last.push_back(*std::move(frame));
  }
  ASSERT_GT(Usage().shared_bytes, 0);
  cache_->StopServer();
  stream.reset();
  EXPECT_EQ(NumOpenRegions(), 0);
  wanted.erase(wanted.begin(), wanted.end() - 3);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(std::string(last[i].block.bytes.begin(), last[i].block.bytes.end()), wanted[i]) << i;
}

// What no client of ours would see of a server of ours: each way the frames come, through the socket.
TEST_F(SharedMemoryStreamTest, ARegionThatCannotBeMappedIsNoError) {
  const std::string path = (folder_ / "between").string();
  const int unsealed = open((folder_ / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(unsealed, 0);
  const std::vector<std::pair<const char*, std::function<void(v1::SharedRegion&)>>> changes = {
      {"nonce", [](v1::SharedRegion& region) { region.mutable_nonce()->front() ^= 1; }},
      {"short nonce", [](v1::SharedRegion& region) { region.set_nonce("x"); }},
      {"size", [](v1::SharedRegion& region) { region.set_bytes(region.bytes() - 4096); }},
      {"another process", [](v1::SharedRegion& region) { region.set_pid(1 << 30); }},
      {"no descriptor", [](v1::SharedRegion& region) { region.set_file_descriptor(-1); }},
      {"another file",
       [&](v1::SharedRegion& region) {
         ASSERT_EQ(ftruncate(unsealed, static_cast<off_t>(region.bytes())), 0);
         ASSERT_EQ(pwrite(unsealed, region.nonce().data(), region.nonce().size(), 0), 16);
         region.set_file_descriptor(unsealed);
       }},
  };
  const std::vector<std::string> wanted = Wanted();
  for (const auto& [what, change] : changes) {
    SCOPED_TRACE(what);
    fs::remove(path);
    int num_regions = 0;
    const TamperingServer between(cache_->server(), "unix:" + path, [&](v1::ReadEpochResponse& response) {
      if (!response.has_region()) return;
      ++num_regions;
      change(*response.mutable_region());
    });
    std::vector<std::string> blocks;
    AFTERIMAGE_EXPECT_OK(ReadAt(between.address(), blocks));
    EXPECT_EQ(blocks, wanted);
    EXPECT_EQ(num_regions, 1);
    EXPECT_FALSE(between.region_was_mapped());
  }
  EXPECT_EQ(Usage().shared_bytes, 0);
  close(unsealed);
}

TEST_F(SharedMemoryStreamTest, APlaceThatIsNotInTheRegionEndsTheStream) {
  const std::string path = (folder_ / "between").string();
  const std::vector<std::function<void(v1::EpochFrame&)>> changes = {
      [](v1::EpochFrame& frame) { frame.mutable_place()->set_offset(uint64_t{1} << 40); },
      [](v1::EpochFrame& frame) { frame.mutable_place()->set_bytes(~uint64_t{0}); },
      [](v1::EpochFrame& frame) { frame.mutable_place()->set_offset(0); },
      [](v1::EpochFrame& frame) { frame.set_block("both"); },
  };
  for (const auto& change : changes) {
    fs::remove(path);
    const TamperingServer between(cache_->server(), "unix:" + path, [&](v1::ReadEpochResponse& response) {
      for (v1::EpochFrame& frame : *response.mutable_frames()) {
        if (frame.has_place()) change(frame);
      }
    });
    std::vector<std::string> blocks;
    EXPECT_THAT(ReadAt(between.address(), blocks),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("unix:" + path)));
    EXPECT_LT(blocks.size(), kNumRecords);
    EXPECT_TRUE(between.region_was_mapped());
  }
}

TEST_F(SharedMemoryStreamTest, ARegionIsNamedToWhomItMayServeAndUsedWhenItIsMapped) {
  request_.credit_bytes = 150'000;  // two records, and no more before some of it comes back
  {
    RawStream old_client(*cache_);
    old_client.Ask(request_, false);
    EXPECT_FALSE(old_client.Next().has_region());
  }
  {
    ServedCache over_tcp;
    EpochRequest request = over_tcp.Fill(kNumRecords, 1, kLarge);
    RawStream stream(over_tcp);
    stream.Ask(request, true);
    EXPECT_FALSE(stream.Next().has_region());
  }
  RawStream stream(*cache_);
  stream.Ask(request_, true);
  const v1::ReadEpochResponse first = stream.Next();
  ASSERT_TRUE(first.has_region());
  EXPECT_EQ(first.frames_size(), 0);
  std::vector<v1::EpochFrame> frames;
  const auto read = [&](size_t count) {
    while (frames.size() < count) {
      const v1::ReadEpochResponse response = stream.Next();
      EXPECT_FALSE(response.has_region());
      ASSERT_GT(response.frames_size(), 0);
      frames.insert(frames.end(), response.frames().begin(), response.frames().end());
    }
  };
  const std::vector<std::string> wanted = Wanted();
  read(3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(frames[i].has_place());
    EXPECT_EQ(frames[i].block(), wanted[i]);
  }
  // Mapped, then the credit of one frame after the other.
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SharedMemoryName name, FromWire(first.region()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto view, SharedMemoryView::Open(name));
  stream.SayMapped();
  const uint64_t cost = wanted[0].size() + kFrameOverheadBytes;
  stream.GiveBack(cost);
  read(4);
  ASSERT_TRUE(frames[3].has_place());
  EXPECT_EQ(frames[3].block(), "");
  const auto block_of = [&](const v1::EpochFrame& frame) {
    const ByteSpan bytes = view->bytes().subspan(frame.place().offset(), frame.place().bytes());
    return std::string(bytes.begin(), bytes.end());
  };
  EXPECT_EQ(block_of(frames[3]), wanted[3]);
  stream.GiveBack(cost);
  read(5);
  EXPECT_NE(frames[4].place().offset(), frames[3].place().offset());
  EXPECT_EQ(block_of(frames[4]), wanted[4]);
  // The place that came back is the next one; what is still held has not changed.
  stream.GiveBack(cost, {frames[3].place().offset()});
  read(6);
  EXPECT_EQ(frames[5].place().offset(), frames[3].place().offset());
  EXPECT_EQ(block_of(frames[5]), wanted[5]);
  EXPECT_EQ(block_of(frames[4]), wanted[4]);
}

TEST_F(SharedMemoryStreamTest, WhatAClientGivesBackThatItNeverGotEndsItsStream) {
  const std::vector<std::pair<const char*, std::function<void(RawStream&)>>> ways = {
      {"no block", [](RawStream& stream) { stream.GiveBack(0, {64}); }},
      {"no block", [](RawStream& stream) { stream.GiveBack(100, {0}); }},
      {"no block",
       [](RawStream& stream) {
         stream.GiveBack(~uint64_t{0}, {~uint64_t{0}, uint64_t{1} << 63});
       }},
      {"no block",
       [](RawStream& stream) {
         stream.Next();  // a frame whose credit can be given back
         stream.SayMapped();
         stream.GiveBack(kCreditBytes);
         for (int i = 0; i < 20; ++i) {
           const v1::ReadEpochResponse response = stream.Next();
           if (response.frames_size() == 0 || !response.frames(0).has_place()) continue;
           const uint64_t offset = response.frames(0).place().offset();
           return stream.GiveBack(0, {offset, offset});
         }
         ADD_FAILURE() << "no frame came through the region";
       }},
      {"no region",
       [](RawStream& stream) {
         stream.SayMapped();
         stream.SayMapped();
       }},
  };
  for (size_t i = 0; i < ways.size(); ++i) {
    SCOPED_TRACE(i);
    RawStream stream(*cache_);
    stream.Ask(request_, true);
    ASSERT_TRUE(stream.Next().has_region());
    ways[i].second(stream);
    EXPECT_THAT(stream.End(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(ways[i].first)));
  }
  // Of a region that there is not.
  for (const bool by_mapping : {false, true}) {
    RawStream stream(*cache_);
    stream.Ask(request_, false);
    by_mapping ? stream.SayMapped() : stream.GiveBack(0, {64});
    EXPECT_THAT(stream.End(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no region")));
  }
}

TEST_F(SharedMemoryStreamTest, ClientsThatVanishLeaveNothing) {
  for (int i = 0; i < 5; ++i) {
    RawStream stream(*cache_);
    stream.Ask(request_, true);
    ASSERT_TRUE(stream.Next().has_region());
    EXPECT_GE(NumOpenRegions(), 1);  // those before may still be closing
    stream.SayMapped();
    stream.Next();
    if (i % 2 == 0) continue;  // without a word
    RemoteEpochSource source(cache_->Connect());
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto second, source.Open(request_));
    AFTERIMAGE_ASSERT_OK(second->Next());
  }
  EXPECT_TRUE(Eventually([&] { return cache_->server().num_streams() == 0; }));
  EXPECT_EQ(NumOpenRegions(), 0);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) EXPECT_THAT(line, Not(HasSubstr("memfd:afterimage")));
}

}  // namespace
}  // namespace afterimage::testing
