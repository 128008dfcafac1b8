// What the number of records costs: the start of a server and of an epoch, memory, and the time of a record, of
// sets of 10,000, 100,000 and 1,000,000 small records.
//
//   scale_benchmark FOLDER [rounds = 15]
//
// FOLDER takes 3 GB and is kept for the next run.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/open_cache.h"
#include "core/base/allocator.h"
#include "tests/benchmarks/line_process.h"
#include "tests/benchmarks/server_process.h"
#include "tests/benchmarks/support.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::benchmarks {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSizes[] = {10'000, 100'000, 1'000'000};
constexpr uint64_t kBatchOfRecords = 250;
constexpr uint64_t kReadPerRound = 50'000;

struct SmallRecords {
  uint64_t num_records = 0;
  std::string cache;
  EpochRequest request;
};

// A level of five rows of 64 values.
SmallRecords Prepare(const fs::path& folder, uint64_t num_records) {
  const SetDescription description = testing::MakeSyntheticDescription({.num_levels = 1,
                                                                        .levels = {1},
                                                                        .width = 64,
                                                                        .grid = 2,
                                                                        .view_size = 4,
                                                                        .pixels = false,
                                                                        .layout = {.num_shards = 1}});
  const Manifest manifest = testing::MakeSyntheticManifest(num_records);
  SmallRecords small;
  small.num_records = num_records;
  small.cache = (folder / std::to_string(num_records)).string();
  small.request.set_id = description.set.Id();
  small.request.order.manifest = manifest.digest();
  small.request.order.num_occurrences = manifest.num_occurrences();
  small.request.order.mask.num_visible = 1;
  small.request.global_batch = kBatchOfRecords;
  const fs::path done = small.cache + ".done";
  if (!fs::exists(done)) {
    fs::remove_all(small.cache);
    const OpenedCache cache = Require(OpenCache(small.cache, {.create = true}));
    Require(cache.catalog->CreateSet(description).status());
    Require(cache.catalog->PutManifest(manifest));
    const OpenedSet set = Require(cache.catalog->OpenSet(small.request.set_id, OpenMode::kContribute));
    Require(testing::FillSet(set, manifest.digest(), 1));
    std::ofstream(done) << "whole\n";
  }
  return small;
}

// Reads `num_records` of an epoch; seconds until the first batch was there.
double ReadRecords(EpochSource& source, EpochRequest request, uint64_t num_records) {
  const Stopwatch watch;
  double first_batch = 0;
  request.step_end = num_records / request.global_batch;
  const std::unique_ptr<EpochStream> stream = Require(source.Open(request));
  for (uint64_t count = 1;; ++count) {
    const std::optional<EpochFrame> frame = Require(stream->Next());
    if (!frame.has_value()) return first_batch;
    if (frame->state != RecordState::kOk) Require(absl::InternalError("a record is not OK"));
    stream->ReturnCredit(frame->CostBytes());
    if (count == request.global_batch) first_batch = watch.Elapsed().wall;
  }
}

void Start(const SmallRecords& small, int num_rounds) {
  std::vector<double> server_start, first_epoch, next_epoch, folder_start;
  double resident = 0;
  double own = 0;
  for (int round = 0; round < num_rounds; ++round) {
    const Stopwatch starting;
    const ServerProcess server(small.cache, "127.0.0.1:0");
    const OpenedCache cache = Require(OpenCache("grpc://127.0.0.1:" + std::to_string(server.port())));
    server_start.push_back(starting.Elapsed().wall);
    first_epoch.push_back(ReadRecords(*cache.epoch_source, small.request, kBatchOfRecords));
    next_epoch.push_back(ReadRecords(*cache.epoch_source, small.request, kBatchOfRecords));
    resident = StatusMebibytes(server.pid(), "VmRSS:");
    own = StatusMebibytes(server.pid(), "RssAnon:");
    const Stopwatch opening;
    const OpenedCache folder = Require(OpenCache(small.cache));
    const double opened = opening.Elapsed().wall;
    folder_start.push_back(opened + ReadRecords(*folder.epoch_source, small.request, kBatchOfRecords));
  }
  std::printf("| %llu | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |\n",
              static_cast<unsigned long long>(small.num_records), 1e3 * Median(server_start),
              1e3 * Median(first_epoch), 1e3 * Median(next_epoch), 1e3 * Median(folder_start), resident, own);
  std::fflush(stdout);
}

struct Costs {
  std::vector<double> folder;  // seconds a record
  std::vector<double> server;
};

void Run(const fs::path& folder, int num_rounds) {
  std::vector<SmallRecords> sets;
  for (const uint64_t size : kSizes) sets.push_back(Prepare(folder, size));
  std::printf(
      "| records | server start, ms | first epoch's first batch, ms | the next one's, ms | folder, opened and first "
      "batch, ms | server resident, MiB | of it its own, MiB |\n|---|---|---|---|---|---|---|\n");
  for (const SmallRecords& small : sets) Start(small, num_rounds);

  std::vector<std::unique_ptr<ServerProcess>> servers;
  std::vector<OpenedCache> remote, local;
  for (const SmallRecords& small : sets) {
    servers.push_back(std::make_unique<ServerProcess>(small.cache, "127.0.0.1:0"));
    remote.push_back(Require(OpenCache("grpc://127.0.0.1:" + std::to_string(servers.back()->port()))));
    local.push_back(Require(OpenCache(small.cache)));
  }
  // As many records of each, in the order of whole epochs of it.
  const auto read = [&](EpochSource& source, const SmallRecords& small) {
    const Stopwatch watch;
    const uint64_t per_epoch = std::min(small.num_records, kReadPerRound);
    for (uint64_t done = 0; done < kReadPerRound; done += per_epoch) {
      EpochRequest request = small.request;
      request.epoch = done / per_epoch;
      ReadRecords(source, request, per_epoch);
    }
    return watch.Elapsed().wall / kReadPerRound;
  };
  std::vector<Costs> costs(sets.size());
  for (int round = -1; round < num_rounds; ++round) {  // the first one warms up
    for (size_t i = 0; i < sets.size(); ++i) {
      const size_t at = round % 2 == 0 ? i : sets.size() - 1 - i;
      const double folder_cost = read(*local[at].epoch_source, sets[at]);
      const double server_cost = read(*remote[at].epoch_source, sets[at]);
      if (round < 0) continue;
      costs[at].folder.push_back(folder_cost);
      costs[at].server.push_back(server_cost);
    }
  }
  std::printf("\n| records | folder, us a record | server, us a record |\n|---|---|---|\n");
  for (size_t i = 0; i < sets.size(); ++i) {
    std::printf("| %llu | %.2f | %.2f |\n", static_cast<unsigned long long>(sets[i].num_records),
                1e6 * Median(costs[i].folder), 1e6 * Median(costs[i].server));
  }
  for (size_t i = 1; i < sets.size(); ++i) {
    const PairedResult by_folder = ComparePaired(costs[i].folder, costs[0].folder);
    const PairedResult by_server = ComparePaired(costs[i].server, costs[0].server);
    std::printf("%llu / %llu records, time of one: folder %.3f [%.3f, %.3f], server %.3f [%.3f, %.3f]\n",
                static_cast<unsigned long long>(sets[i].num_records),
                static_cast<unsigned long long>(sets[0].num_records), by_folder.median_ratio, by_folder.low,
                by_folder.high, by_server.median_ratio, by_server.low, by_server.high);
  }
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  using namespace afterimage::benchmarks;
  afterimage::KeepFreedMemory();
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
  if (argc < 2 || argc > 3 || rounds < 1) {
    std::fprintf(stderr, "usage: scale_benchmark FOLDER [ROUNDS]\n");
    return 2;
  }
  PrintMachine();
  Run(argv[1], rounds);
  return EXIT_SUCCESS;
}
