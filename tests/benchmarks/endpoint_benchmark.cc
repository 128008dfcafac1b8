// What the way from RocksDB through the server into a batch tensor carries, beside a raw gRPC stream and
// Arrow Flight with the same records in the same shuffled order. Everything on loopback, servers in processes
// of their own, all sides in turn.
//
//   endpoint_benchmark FOLDER [--rounds 15] [--size 230] [--python PYTHON] [--brief | --same-host]
//
// FOLDER takes 5 GB and is kept for the next run. With PYTHON, one that has pyarrow, Flight runs too.
// --brief: one stream, the raw stream and the store alone. --same-host: the ways between processes of one
// machine.
#include <stdlib.h>
#include <sys/types.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/open_cache.h"
#include "core/base/allocator.h"
#include "tests/benchmarks/endpoint_data.h"
#include "tests/benchmarks/line_process.h"
#include "tests/benchmarks/raw_stream.h"
#include "tests/benchmarks/server_process.h"
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {
namespace {

namespace fs = std::filesystem;

constexpr char kScript[] = AFTERIMAGE_SOURCE_DIR "/tests/benchmarks/endpoint_anchors.py";
constexpr uint32_t kNumStreams = 4;

// One way of reading, and what its rounds took.
struct Side {
  std::string name;
  std::function<uint64_t()> read;       // bytes of records
  pid_t server = 0;                     // 0: none
  pid_t client = 0;                     // 0: this process
  std::vector<double> rates = {};       // bytes per second
  std::vector<double> server_cpu = {};  // seconds per GB
  std::vector<double> client_cpu = {};
};

void Measure(Side& side) {
  const auto client_cpu = [&] { return side.client == 0 ? CpuSeconds() : CpuSecondsOf(side.client); };
  const auto server_cpu = [&] { return side.server == 0 ? 0.0 : CpuSecondsOf(side.server); };
  const double client_before = client_cpu();
  const double server_before = server_cpu();
  const Stopwatch watch;
  const auto bytes = static_cast<double>(side.read());
  side.rates.push_back(bytes / watch.Elapsed().wall);
  side.client_cpu.push_back((client_cpu() - client_before) / (bytes / 1e9));
  side.server_cpu.push_back((server_cpu() - server_before) / (bytes / 1e9));
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

struct Comparison {
  size_t ours = 0;
  size_t theirs = 0;
  double bar = 0;  // the ratio that is wanted
};

// TLS with a key made for this run.
struct Certificate {
  explicit Certificate(const fs::path& folder)
      : certificate((folder / "tls.crt").string()), key((folder / "tls.key").string()) {
    const std::string command = absl::StrCat(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout '",
        key, "' -out '", certificate, "' 2>/dev/null");
    if (std::system(command.c_str()) != 0) Require(absl::UnavailableError("openssl makes no certificate"));
  }
  const std::string certificate;
  const std::string key;
};

// Four ranks, each with a connection of its own.
uint64_t ReadFourStreams(const std::vector<OpenedCache>& caches, const EpochRequest& request,
                         std::vector<BatchTensor>& tensors) {
  std::vector<uint64_t> bytes(kNumStreams);
  std::vector<std::thread> threads;
  for (uint32_t rank = 0; rank < kNumStreams; ++rank) {
    threads.emplace_back([&, rank] {
      EpochRequest slice = request;
      slice.slice = {rank, kNumStreams};
      bytes[rank] = ReadEpochInto(*caches[rank].epoch_source, slice, tensors[rank]);
    });
  }
  uint64_t total = 0;
  for (uint32_t rank = 0; rank < kNumStreams; ++rank) {
    threads[rank].join();
    total += bytes[rank];
  }
  return total;
}

// What the store itself costs: every record looked up and checked by one thread, nothing copied.
uint64_t ReadStore(FeatureStore& store, const Manifest& manifest, const EndpointData& data) {
  uint64_t bytes = 0;
  for (uint64_t position = 0; position < data.num_records; ++position) {
    const OrderEntry entry = EntryAt(data.request.order, 0, 0, position);
    const ImageKey key = manifest.keys()[manifest.KeyIndexOfOccurrence(entry.occurrence)];
    bytes += Require(ReadOne(store, {key, entry.view_seed})).bytes.size();
  }
  return bytes;
}

void Print(const std::vector<Side>& sides, const std::vector<Comparison>& comparisons,
           const std::vector<size_t>& counted) {
  std::printf("| | GB/s | server, CPU-s/GB | client, CPU-s/GB |\n|---|---|---|---|\n");
  for (const Side& side : sides) {
    std::printf("| %s | %.2f | %.3f | %.3f |\n", side.name.c_str(), Median(Select(side.rates, counted)) / 1e9,
                Mean(Select(side.server_cpu, counted)), Mean(Select(side.client_cpu, counted)));
  }
  for (const Comparison& compared : comparisons) {
    const Side& ours = sides[compared.ours];
    const Side& theirs = sides[compared.theirs];
    PrintComparison(ours.name, theirs.name,
                    ComparePaired(Select(ours.rates, counted), Select(theirs.rates, counted)), compared.bar);
  }
}

void Run(const EndpointArguments& arguments, const RecordShape& shape) {
  const fs::path& folder = arguments.folder;
  const std::string& python = arguments.python;
  const EndpointData data = PrepareEndpointData(folder, shape);
  const Certificate tls(folder);
  const std::string socket = (folder / "socket").string();
  const std::string plain_socket = (folder / "plain_socket").string();
  fs::remove(socket);
  fs::remove(plain_socket);
  const ServerProcess server(data.cache, "127.0.0.1:0");
  const ServerProcess unix_server(data.cache, "unix:" + socket);
  const ServerProcess plain_unix_server(data.cache, "unix:" + plain_socket, {"--no-shared-memory"});
  const ServerProcess tls_server(data.cache, "127.0.0.1:0",
                                 {"--tls-cert", tls.certificate, "--tls-key", tls.key});
  const std::string raw_socket = (folder / "raw_socket").string();
  fs::remove(raw_socket);
  const LineProcess raw_server({"/proc/self/exe", "serve-raw", data.block_file, data.order_file,
                                absl::StrCat(data.block_bytes), raw_socket});
  std::unique_ptr<LineProcess> flight_server, flight_client;
  if (!python.empty()) {
    flight_server = std::make_unique<LineProcess>(std::vector<std::string>{
        python, kScript, "flight-server", data.block_file, data.order_file, absl::StrCat(data.block_bytes)});
    flight_client = std::make_unique<LineProcess>(std::vector<std::string>{
        python, kScript, "flight-client", flight_server->greeting(), absl::StrCat(data.block_bytes)});
  }

  const std::string address = absl::StrCat("grpc://127.0.0.1:", server.port());
  const OpenedCache cache = Require(OpenCache(address));
  std::vector<OpenedCache> four;
  for (uint32_t rank = 0; rank < kNumStreams; ++rank) four.push_back(Require(OpenCache(address)));
  const OpenedCache over_unix = Require(OpenCache("unix:" + socket));
  const OpenedCache over_plain_unix = Require(OpenCache("unix:" + plain_socket));
  const OpenedCache over_tls = Require(OpenCache(absl::StrCat("grpcs://127.0.0.1:", tls_server.port()),
                                                 {.access = {.ca_file = tls.certificate}}));
  const OpenedCache embedded = Require(OpenCache(data.cache));
  const OpenedSet set = Require(embedded.catalog->OpenSet(data.request.set_id, OpenMode::kRead));
  const auto manifest = Require(embedded.catalog->GetManifest(data.request.order.manifest));
  const auto channel = OpenRawChannel("127.0.0.1:" + raw_server.greeting());
  const auto unix_channel = OpenRawChannel("unix:" + raw_socket);
  BatchTensor tensor(data.block_bytes);
  std::vector<BatchTensor> tensors(kNumStreams, BatchTensor(data.block_bytes));
  EpochRequest one_level = data.request;
  one_level.selection = {.levels = {3}, .pixels = false};
  EpochRequest visible = data.request;
  visible.selection = {.tokens = Selection::Tokens::kMask, .pixels = false};

  std::vector<Side> sides;
  const auto add = [&](Side side) { return sides.push_back(std::move(side)), sides.size() - 1; };
  std::vector<Comparison> comparisons;
  const auto epoch = [&](const OpenedCache& from, const EpochRequest& request) {
    return [&] { return ReadEpochInto(*from.epoch_source, request, tensor); };
  };
  const size_t ours = add({"ReadEpoch, TCP", epoch(cache, data.request), server.pid()});
  const size_t raw = add({"raw stream, shuffled",
                          [&] { return ReadRawInto(channel, RawOrder::kShuffled, data.num_records, tensor); },
                          raw_server.pid()});
  const size_t store = add({"the store's own read", [&] { return ReadStore(*set.store, *manifest, data); }});
  comparisons.push_back({ours, raw, 0.95});
  std::optional<size_t> level, rows;
  if (!arguments.brief || arguments.same_host) {
    const size_t shared =
        add({"ReadEpoch, unix socket and shared memory", epoch(over_unix, data.request), unix_server.pid()});
    const size_t unshared =
        add({"ReadEpoch, unix socket alone", epoch(over_plain_unix, data.request), plain_unix_server.pid()});
    comparisons.insert(comparisons.end(), {{shared, ours, 1.3}, {unshared, ours}, {shared, unshared}});
  }
  if (!arguments.brief) {
    const size_t constant =
        add({"raw stream, one message",
             [&] { return ReadRawInto(channel, RawOrder::kConstant, data.num_records, tensor); },
             raw_server.pid()});
    const size_t raw_unix =
        add({"raw stream, unix socket",
             [&] { return ReadRawInto(unix_channel, RawOrder::kShuffled, data.num_records, tensor); },
             raw_server.pid()});
    const size_t streams = add({"ReadEpoch, four streams",
                                [&] { return ReadFourStreams(four, data.request, tensors); }, server.pid()});
    const size_t encrypted = add({"ReadEpoch, TLS", epoch(over_tls, data.request), tls_server.pid()});
    level = add({"one level of five", epoch(cache, one_level), server.pid()});
    rows = add({"visible rows", epoch(cache, visible), server.pid()});
    const Comparison with_ours[] = {
        {ours, constant}, {raw_unix, raw}, {streams, ours, 1.0}, {encrypted, ours}};
    comparisons.insert(comparisons.end(), std::begin(with_ours), std::end(with_ours));
  }
  if (flight_client != nullptr) {
    const std::pair<const char*, const char*> kinds[] = {{"file", "Arrow Flight over an Arrow file"},
                                                         {"1", "Arrow Flight, zero-copy, 1 a batch"},
                                                         {"8", "Arrow Flight, zero-copy, 8 a batch"}};
    for (const auto& [ticket, name] : kinds) {
      const size_t flight = add({name,
                                 [&flight_client, ticket = ticket] {
                                   uint64_t bytes = 0;
                                   const std::string answer = flight_client->Ask(ticket);
                                   if (!absl::SimpleAtoi(answer, &bytes))
                                     Require(absl::InternalError("Flight: " + answer));
                                   return bytes;
                                 },
                                 flight_server->pid(), flight_client->pid()});
      comparisons.push_back({ours, flight, 1.8});
    }
  }
  // Bytes of blocks as they came, before the clock starts.
  std::vector<uint64_t> bytes;
  for (Side& side : sides) bytes.push_back(side.read());

  const auto all_cpu = [&] {
    double total = CpuSeconds();
    std::map<pid_t, double> others;
    for (const Side& side : sides) {
      for (const pid_t pid : {side.server, side.client}) {
        if (pid != 0) others[pid] = CpuSecondsOf(pid);
      }
    }
    for (const auto& [pid, seconds] : others) total += seconds;
    return total;
  };
  Rounds rounds(arguments.rounds, 240, all_cpu);
  while (rounds.Next()) {
    // The other way round every second time, so that a trend favours nobody.
    for (size_t i = 0; i < sides.size(); ++i)
      Measure(sides[rounds.number() % 2 == 0 ? i : sides.size() - 1 - i]);
  }
  std::printf("\nrecords of %.1f KB, %llu of them, batches of %llu\n",
              static_cast<double>(data.block_bytes) / 1e3, static_cast<unsigned long long>(data.num_records),
              static_cast<unsigned long long>(kBatch));
  const std::vector<size_t> counted = rounds.Quietest();
  Print(sides, comparisons, counted);
  const auto share = [&](size_t part) {
    return static_cast<double>(bytes[part]) / static_cast<double>(bytes[ours]);
  };
  if (level.has_value() && rows.has_value()) {
    std::printf(
        "on the wire: one level of five %.4f of the whole (a fifth: 0.2, limit 0.21), visible rows %.4f\n",
        share(*level), share(*rows));
  }
  const double wanted =
      1.1 * Mean(Select(sides[raw].server_cpu, counted)) + Mean(Select(sides[store].client_cpu, counted));
  const double used = Mean(Select(sides[ours].server_cpu, counted));
  std::printf("server: %.3f CPU-s/GB, wanted at most 1.1 x raw + store = %.3f: %s\n", used, wanted,
              used <= wanted ? "met" : "MISSED");
  std::printf("peak memory of the server %.0f MiB, of its own %.0f MiB\n",
              StatusMebibytes(server.pid(), "VmHWM:"), StatusMebibytes(server.pid(), "RssAnon:"));
  std::fflush(stdout);
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  using namespace afterimage::benchmarks;
  afterimage::KeepFreedMemory();
  if (argc == 6 && std::strcmp(argv[1], "serve-raw") == 0)
    ServeRawStream(argv[2], argv[3], std::strtoull(argv[4], nullptr, 10), argv[5]);
  const EndpointArguments arguments = ParseEndpointArguments(argc, argv);
  PrintMachine();
  for (const RecordShape& shape : arguments.shapes) Run(arguments, shape);
  return EXIT_SUCCESS;
}
