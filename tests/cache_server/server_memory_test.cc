// What the server holds does not grow with the cache: an epoch of many small records, one reader that reads
// and one that stalls.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "client/open_cache.h"
#include "gmock/gmock.h"
#include "tests/cache_server/server_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using testing::IsOk;
using testing::ServerProcess;
using testing::TemporaryFolder;

constexpr uint64_t kCreditBytes = 16 << 20;
constexpr uint64_t kMebibyte = 1 << 20;

// The server's peak memory over filling and reading `count` records.
uint64_t PeakBytes(uint64_t count) {
  const TemporaryFolder folder;
  ServerProcess server(folder.path(),
                       ServerProcess::Arguments(folder.path(), "unix:" + (folder / "socket").string()));
  EXPECT_EQ(server.WaitUntilReady(), 0) << server.Output();
  absl::StatusOr<OpenedCache> cache = OpenCache("unix:" + (folder / "socket").string());
  EXPECT_THAT(cache, IsOk());
  if (!cache.ok()) return 0;
  const testing::SyntheticOptions small = {
      .num_levels = 1,
      .levels = {1},
      .width = 8,
      .grid = 4,
      .view_size = 8,
      .layout = {.num_shards = static_cast<uint32_t>(count / 5000), .seeds_per_unit = 1}};
  const SetDescription description = testing::MakeSyntheticDescription(small);
  const Manifest manifest = testing::MakeSyntheticManifest(count);
  EXPECT_THAT(cache->catalog->CreateSet(description), IsOk());
  EXPECT_THAT(cache->catalog->PutManifest(manifest), IsOk());
  const absl::StatusOr<OpenedSet> set = cache->catalog->OpenSet(description.set.Id(), OpenMode::kContribute);
  EXPECT_THAT(set, IsOk());
  EXPECT_THAT(testing::FillSet(*set, manifest.digest(), 1), IsOk());

  EpochRequest request;
  request.set_id = description.set.Id();
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = count;
  request.order.mask.num_visible = 5;
  request.global_batch = 50;
  request.credit_bytes = kCreditBytes;
  const absl::StatusOr<std::unique_ptr<EpochStream>> stalled = cache->epoch_source->Open(request);
  EXPECT_THAT(stalled, IsOk());
  const absl::StatusOr<std::unique_ptr<EpochStream>> stream = cache->epoch_source->Open(request);
  EXPECT_THAT(stream, IsOk());
  uint64_t num_frames = 0;
  absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
  for (; frame.ok() && frame->has_value(); frame = (*stream)->Next()) {
    num_frames += (*frame)->state == RecordState::kOk;
    (*stream)->ReturnCredit((*frame)->CostBytes());
  }
  EXPECT_THAT(frame, IsOk());
  EXPECT_EQ(num_frames, count);
  return server.ResidentBytes("VmHWM:");
}

TEST(ServerMemoryTest, StaysTheSameForTenTimesAsManyRecords) {
  const uint64_t few = PeakBytes(10'000);
  const uint64_t many = PeakBytes(100'000);
  RecordProperty("peak_mib_10000", std::to_string(few / kMebibyte));
  RecordProperty("peak_mib_100000", std::to_string(many / kMebibyte));
  EXPECT_LT(many, 300 * kMebibyte + 2 * kCreditBytes);
  // The pages of table files that are mapped or cached by RocksDB's index are in it; the records (130 MB) are
  // not.
  EXPECT_LT(many, few + 16 * kMebibyte) << few / kMebibyte << " MiB -> " << many / kMebibyte << " MiB";
}

}  // namespace
}  // namespace afterimage
