// Readers that stall, stop, vanish or talk nonsense cost the server what it says they do, and slow nobody.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/open_cache.h"
#include "gmock/gmock.h"
#include "tests/cache_server/server_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ServerProcess;
using testing::StatusIs;
using testing::TemporaryFolder;

constexpr uint64_t kMebibyte = 1 << 20;
constexpr uint64_t kNumPictures = 2000;
constexpr uint64_t kBatch = 20;
constexpr uint64_t kSmallSteps = 1;
constexpr int kNumManyStreams = 500;
constexpr int kStreamsPerConnection = 10;
// The handler's, two of the session, and --reader-threads.
constexpr int kThreadsPerStream = 5;
constexpr uint64_t kCreditBytes = 4 * kMebibyte;
// docs/operations/server.md: an epoch stream costs its credit, a frame, and HTTP/2's window.
constexpr uint64_t kWindowBytes = 8 * kMebibyte;

class ServerBoundsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // About 100 KB a record: an epoch is far more than any credit.
    const SetDescription description =
        testing::MakeSyntheticDescription({.num_levels = 2,
                                           .levels = {1, 2},
                                           .width = 128,
                                           .grid = 14,
                                           .view_size = 28,
                                           .layout = {.num_shards = 4, .seeds_per_unit = 1}});
    const Manifest manifest = testing::MakeSyntheticManifest(kNumPictures);
    {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache,
                                      OpenCache((folder_ / "cache").string(), {.create = true}));
      AFTERIMAGE_ASSERT_OK(cache.catalog->CreateSet(description));
      AFTERIMAGE_ASSERT_OK(cache.catalog->PutManifest(manifest));
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                      cache.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
      AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 1));
    }
    StartServer({"--max-streams", "200"});
    request_.set_id = description.set.Id();
    request_.order.manifest = manifest.digest();
    request_.order.num_occurrences = kNumPictures;
    request_.order.mask.num_visible = 60;
    request_.global_batch = kBatch;
    request_.credit_bytes = kCreditBytes;
  }

  // Instead of the one before it.
  void StartServer(const std::vector<std::string>& more) {
    cache_ = {};
    server_.reset();
    std::vector<std::string> arguments = ServerProcess::Arguments(folder_.path());
    arguments.insert(arguments.end(), more.begin(), more.end());
    server_ = std::make_unique<ServerProcess>(folder_.path(), arguments);
    port_ = server_->WaitUntilReady();
    ASSERT_GT(port_, 0) << server_->Output();
    address_ = absl::StrCat("grpc://127.0.0.1:", port_);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache_, OpenCache(address_));
  }
  // Few records, and little credit: what 500 streams at once can be given.
  EpochRequest SmallRequest() const {
    EpochRequest request = request_;
    request.step_end = kSmallSteps;
    request.credit_bytes = 256 << 10;
    return request;
  }

  ProcessUsage Usage() const {
    const absl::StatusOr<ServerUsage> usage = cache_.server_usage();
    EXPECT_THAT(usage, IsOk());
    return usage.value_or(ServerUsage()).process;
  }
  // Reads an epoch to its end; the number of records.
  uint64_t ReadEpoch() const {
    const absl::StatusOr<std::unique_ptr<EpochStream>> stream = cache_.epoch_source->Open(request_);
    EXPECT_THAT(stream, IsOk());
    uint64_t count = 0;
    while (stream.ok()) {
      const absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      EXPECT_THAT(frame, IsOk());
      if (!frame.ok() || !frame->has_value()) break;
      count += (*frame)->state == RecordState::kOk;
      (*stream)->ReturnCredit((*frame)->CostBytes());
    }
    return count;
  }
  // A connection that sends `bytes`, waits for `wait`, and vanishes with a reset.
  void SendAndVanish(const std::string& bytes, absl::Duration wait = absl::ZeroDuration()) const {
    const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in target = {};
    target.sin_family = AF_INET;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons(static_cast<uint16_t>(port_));
    if (connect(descriptor, reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0 &&
        !bytes.empty())
      send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    absl::SleepFor(wait);
    const linger reset = {1, 0};
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(descriptor);
  }
  // Waits until the server has as few descriptors and threads as that again.
  ProcessUsage WaitUntilAsFewAs(const ProcessUsage& before) const {
    ProcessUsage now = Usage();
    for (int i = 0;
         i < 200 && (now.num_descriptors > before.num_descriptors || now.num_threads > before.num_threads);
         ++i) {
      absl::SleepFor(absl::Milliseconds(100));
      now = Usage();
    }
    return now;
  }

  const TemporaryFolder folder_;
  std::unique_ptr<ServerProcess> server_;
  int port_ = 0;
  std::string address_;
  OpenedCache cache_;
  EpochRequest request_;
};

TEST_F(ServerBoundsTest, StalledReadersCostTheirCreditAndWindowAndSlowNobody) {
  EXPECT_EQ(ReadEpoch(), kNumPictures);
  const uint64_t before = Usage().peak_resident_bytes;
  constexpr int kNumStalled = 12;
  std::vector<OpenedCache> caches(kNumStalled);
  std::vector<std::unique_ptr<EpochStream>> stalled;
  for (OpenedCache& cache : caches) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache, OpenCache(address_));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(stalled.emplace_back(), cache.epoch_source->Open(request_));
  }
  // One of them takes a record of 100 KB now and then; the others nothing.
  for (int i = 0; i < 5; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stalled[0]->Next());
    stalled[0]->ReturnCredit(frame->CostBytes());
    absl::SleepFor(absl::Milliseconds(100));
  }
  EXPECT_EQ(ReadEpoch(), kNumPictures);
  const uint64_t after = Usage().peak_resident_bytes;
  const uint64_t bound = kNumStalled * (kCreditBytes + kWindowBytes + 128 * 1024) + 16 * kMebibyte;
  EXPECT_LT(after, before + bound) << before / kMebibyte << " MiB -> " << after / kMebibyte << " MiB";
  RecordProperty("mib_per_stalled_stream", std::to_string((after - before) / kMebibyte / kNumStalled));
}

// Whatever the length of the epoch, per rank.
TEST_F(ServerBoundsTest, AClientHoldsItsCreditAndItsWindow) {
  const auto peak_of = [&](const std::vector<std::string>& more) -> uint64_t {
    std::vector<std::string> command = {AFTERIMAGE_BINARY_DIR "/bin/afterimage",
                                        "stream-bench",
                                        "--cache",
                                        address_,
                                        "--tokens",
                                        "stored",
                                        "--batch",
                                        "20",
                                        "--json"};
    command.insert(command.end(), more.begin(), more.end());
    const testing::Finished finished = testing::RunProgram(command);
    EXPECT_EQ(finished.status, 0) << finished.Text();
    const std::string name = "\"client_peak_bytes\":";
    const size_t at = finished.out.find(name);
    if (at == std::string::npos) return 0;
    return std::strtoull(finished.out.c_str() + at + name.size(), nullptr, 10);
  };
  constexpr uint64_t kRanks = 4;
  const uint64_t before = peak_of({"--credit", "256KB", "--steps", "1"});
  ASSERT_GT(before, 0);
  const uint64_t whole = peak_of({"--credit", "4MB", "--ranks", std::to_string(kRanks)});
  const uint64_t bound = kRanks * (kCreditBytes + kWindowBytes + 128 * 1024) + 16 * kMebibyte;
  EXPECT_LT(whole, before + bound) << before / kMebibyte << " MiB -> " << whole / kMebibyte << " MiB";
  EXPECT_LT(before + bound, kNumPictures * 100 * 1024) << "the bound says nothing";
  RecordProperty("mib_per_rank", std::to_string((whole - std::min(before, whole)) / kMebibyte / kRanks));
}

TEST_F(ServerBoundsTest, AReaderThatIsStoppedGoesOnWhereItWasAndAKilledOneIsForgotten) {
  const std::vector<std::string> command = {AFTERIMAGE_BINARY_DIR "/bin/afterimage",
                                            "stream-bench",
                                            "--cache",
                                            address_,
                                            "--tokens",
                                            "stored",
                                            "--credit",
                                            "4MB",
                                            "--epochs",
                                            "20",
                                            "--batch",
                                            "20"};
  const ProcessUsage before = Usage();
  ChildProcess stopped(command), killed(command);
  absl::SleepFor(absl::Milliseconds(700));
  stopped.Signal(SIGSTOP);
  killed.Signal(SIGSTOP);
  EXPECT_EQ(ReadEpoch(), kNumPictures);
  killed.Signal(SIGKILL);
  killed.Wait();
  stopped.Signal(SIGCONT);
  const testing::Finished finished = stopped.Wait(absl::Seconds(120));
  EXPECT_EQ(finished.status, 0) << finished.Text();
  EXPECT_THAT(finished.out, HasSubstr(absl::StrCat("read         ", 20 * kNumPictures, " records")));
  const ProcessUsage after = WaitUntilAsFewAs(before);
  EXPECT_LE(after.num_descriptors, before.num_descriptors);
}

TEST_F(ServerBoundsTest, AThousandThatConnectAndVanishLeaveNothingBehind) {
  const std::string preface =
      std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\4\0\0\0\0\0", 9);
  const auto vanish = [&](int count) {
    for (int i = 0; i < count; ++i) {
      switch (i % 4) {
        case 0:
          SendAndVanish("");
          break;
        case 1:
          SendAndVanish(preface);
          break;
        case 2:
          SendAndVanish(preface.substr(0, 10));
          break;
        default: {  // a client in the middle of a stream
          if (i % 40 != 3) break;
          AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(address_));
          AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, cache.epoch_source->Open(request_));
          EXPECT_THAT(stream->Next(), IsOk());
        }
      }
    }
  };
  vanish(1000);  // what is set up once is there, and what streams that overlap take is kept for the next ones
  EXPECT_EQ(ReadEpoch(), kNumPictures);
  absl::SleepFor(absl::Seconds(1));
  const ProcessUsage before = Usage();
  vanish(1000);
  vanish(1000);
  const ProcessUsage after = WaitUntilAsFewAs(before);
  EXPECT_LE(after.num_descriptors, before.num_descriptors);
  EXPECT_LE(after.num_threads, before.num_threads + 2);
  EXPECT_LT(after.resident_bytes, before.resident_bytes + 24 * kMebibyte);
  EXPECT_EQ(ReadEpoch(), kNumPictures);
}

// Of `streams`, all at once, each to its end.
void ReadAll(std::vector<std::unique_ptr<EpochStream>>& streams) {
  for (uint64_t i = 0; i < kSmallSteps * kBatch; ++i) {
    for (const auto& stream : streams) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
      ASSERT_TRUE(frame.has_value());
      EXPECT_EQ(frame->state, RecordState::kOk);
      stream->ReturnCredit(frame->CostBytes());
    }
  }
  for (const auto& stream : streams) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto end, stream->Next());
    EXPECT_FALSE(end.has_value());
  }
}

TEST_F(ServerBoundsTest, FiveHundredStreamsAtOnceAllGoOnAndLeaveNothingBehind) {
  StartServer({"--max-streams", "500"});
  ProcessUsage during;
  const auto round = [&] {
    std::vector<OpenedCache> caches(kNumManyStreams / kStreamsPerConnection);
    std::vector<std::unique_ptr<EpochStream>> streams;
    for (OpenedCache& cache : caches) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache, OpenCache(address_));
      for (int i = 0; i < kStreamsPerConnection; ++i) {
        AFTERIMAGE_ASSERT_OK_AND_ASSIGN(streams.emplace_back(), cache.epoch_source->Open(SmallRequest()));
      }
    }
    during = Usage();
    EXPECT_THAT(cache_.epoch_source->Open(SmallRequest()),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("all 500 streams")));
    ReadAll(streams);
  };
  const ProcessUsage idle = Usage();
  round();
  round();  // what is set up once is there
  const ProcessUsage before = WaitUntilAsFewAs(idle);
  std::vector<std::string> mib;
  for (int i = 0; i < 6; ++i) {
    round();
    mib.push_back(absl::StrCat(Usage().resident_bytes / kMebibyte));
  }
  RecordProperty("mib_after_each_round", absl::StrJoin(mib, ", "));
  const ProcessUsage after = WaitUntilAsFewAs(before);
  const auto record = [](const std::string& when, const ProcessUsage& usage) {
    ::testing::Test::RecordProperty(
        when, absl::StrCat(usage.num_threads, " threads, ", usage.num_descriptors, " descriptors, ",
                           usage.resident_bytes / kMebibyte, " MiB"));
  };
  record("idle", idle);
  record("before", before);
  record("during", during);
  record("after", after);
  EXPECT_LE(after.num_descriptors, before.num_descriptors);
  EXPECT_LE(after.num_threads, before.num_threads + 2);
  EXPECT_LT(after.resident_bytes, before.resident_bytes + 24 * kMebibyte);
  // As docs/operations/server.md has it, and what a thread's stack takes.
  EXPECT_LT(during.resident_bytes, idle.resident_bytes + kNumManyStreams * (1 << 20));
  EXPECT_LT(during.num_threads, idle.num_threads + kNumManyStreams * kThreadsPerStream + 16);
}

TEST_F(ServerBoundsTest, FiveHundredAtOnceOfWhomSixtyFourMayAllComeToTheirTurn) {
  StartServer({});  // with the default of --max-streams
  std::vector<OpenedCache> caches(kNumManyStreams / kStreamsPerConnection);
  for (OpenedCache& cache : caches) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(cache, OpenCache(address_));
  }
  std::atomic<int> num_done = 0, num_refused = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < kNumManyStreams; ++i) {
    readers.emplace_back([&, i] {
      EpochSource& source = *caches[i / kStreamsPerConnection].epoch_source;
      absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(SmallRequest());
      while (absl::IsUnavailable(stream.status())) {
        EXPECT_THAT(stream.status().message(), HasSubstr("--max-streams"));
        ++num_refused;
        absl::SleepFor(absl::Milliseconds(20 + i % 100));
        stream = source.Open(SmallRequest());
      }
      ASSERT_THAT(stream, IsOk());
      std::vector<std::unique_ptr<EpochStream>> one;
      one.push_back(*std::move(stream));
      ReadAll(one);
      ++num_done;
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(num_done, kNumManyStreams);
  EXPECT_GT(num_refused, 0);
  RecordProperty("refused", num_refused);
  EXPECT_EQ(ReadEpoch(), kNumPictures);
}

TEST_F(ServerBoundsTest, NonsenseOnThePortIsSurvived) {
  std::mt19937_64 random(7);
  const std::string preface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  for (int i = 0; i < 300; ++i) {
    std::string bytes = i % 2 == 0 ? preface : "";
    for (size_t n = random() % 4000; n > 0; --n) bytes.push_back(static_cast<char>(random()));
    SendAndVanish(bytes, absl::Milliseconds(1));
  }
  SendAndVanish("GET / HTTP/1.1\r\nHost: x\r\n\r\n", absl::Milliseconds(50));
  SendAndVanish(preface + std::string("\xff\xff\xff\0\0\0\0\0\1", 9) + std::string(100'000, 'x'),
                absl::Milliseconds(50));
  EXPECT_EQ(ReadEpoch(), kNumPictures);
}

}  // namespace
}  // namespace afterimage
