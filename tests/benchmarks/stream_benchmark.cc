// How much of what a raw gRPC stream carries does ReadEpoch carry? One loopback stream of 300 KB records
// against a synchronous stream of ByteBuffers of the same size, client and server in processes of their own,
// in turn, on the same port and connection settings.
//
//   stream_benchmark [rounds = 21] [MB per measurement = 600]
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/method_handler.h>
#include <grpcpp/support/sync_stream.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "cache_server/service/cache_server.h"
#include "client/remote/connection.h"
#include "client/remote/remote_epoch_source.h"
#include "core/base/allocator.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_reader.h"
#include "tests/benchmarks/paired.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::benchmarks {
namespace {

constexpr uint64_t kNumRecords = 256;
constexpr char kRawMethod[] = "/afterimage.benchmark/Raw";
constexpr int kLookaheadBytes = 8 << 20;  // as server and client of the product have it

// About 300 KB: 196 patches and the class token of 5 levels of width 128 in f16, and pixels of 112 x 112.
testing::SyntheticOptions Records() {
  return {.num_levels = 5,
          .levels = {1, 2, 3, 4, 5},
          .width = 132,
          .grid = 14,
          .view_size = 112,
          .layout = {.num_shards = 1}};
}

// The yardstick: writes as many messages of a size as the client asks for, from one slice, by the same
// synchronous interface.
class RawService final : public grpc::Service {
 public:
  explicit RawService(std::vector<std::string> blocks) : blocks_(std::move(blocks)) {
    AddMethod(new grpc::internal::RpcServiceMethod(
        kRawMethod, grpc::internal::RpcMethod::BIDI_STREAMING,
        new grpc::internal::BidiStreamingHandler<RawService, grpc::ByteBuffer, grpc::ByteBuffer>(
            [](RawService* service, grpc::ServerContext*,
               grpc::ServerReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>* stream) {
              return service->Send(stream);
            },
            this)));
  }

 private:
  grpc::Status Send(grpc::ServerReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>* stream) {
    grpc::ByteBuffer request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    grpc::Slice count;
    if (!request.DumpToSingleSlice(&count).ok()) return grpc::Status(grpc::StatusCode::INTERNAL, "no count");
    const int num_messages =
        std::atoi(std::string(reinterpret_cast<const char*>(count.begin()), count.size()).c_str());
    for (int i = 0; i < num_messages; ++i) {
      const std::string& block = blocks_[i % blocks_.size()];
      grpc::Slice slice(block.data(), block.size(), grpc::Slice::STATIC_SLICE);
      if (!stream->Write(grpc::ByteBuffer(&slice, 1))) break;
    }
    return grpc::Status::OK;
  }

  const std::vector<std::string> blocks_;
};

struct Prepared {
  InMemoryFeatureCatalog catalog;
  EpochRequest request;
  uint64_t block_bytes = 0;
};

absl::Status Prepare(Prepared& prepared) {
  const SetDescription description = testing::MakeSyntheticDescription(Records());
  const Manifest manifest = testing::MakeSyntheticManifest(kNumRecords);
  if (auto created = prepared.catalog.CreateSet(description); !created.ok()) return created.status();
  if (absl::Status put = prepared.catalog.PutManifest(manifest); !put.ok()) return put;
  absl::StatusOr<OpenedSet> set = prepared.catalog.OpenSet(description.set.Id(), OpenMode::kContribute);
  if (!set.ok()) return set.status();
  if (absl::Status filled = testing::FillSet(*set, manifest.digest(), 1); !filled.ok()) return filled;
  prepared.block_bytes = testing::MakeSyntheticBlock(description, {testing::SyntheticImageKey(0), 0}).size();
  prepared.request.set_id = description.set.Id();
  prepared.request.order.manifest = manifest.digest();
  prepared.request.order.num_occurrences = manifest.num_occurrences();
  prepared.request.order.mask.num_visible = 58;
  prepared.request.global_batch = 32;
  return absl::OkStatus();
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "stream_benchmark: %s\n", status.ToString().c_str());
  std::exit(EXIT_FAILURE);
}

// The server process: serves both, writes the two ports to the pipe, and waits for its end.
[[noreturn]] void RunServer(int pipe) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  KeepFreedMemory();
  Prepared prepared;
  if (absl::Status status = Prepare(prepared); !status.ok()) Die(status);
  EpochReader source(&prepared.catalog, {});
  absl::StatusOr<std::unique_ptr<CacheServer>> server = CacheServer::Start(&prepared.catalog, &source, {});
  if (!server.ok()) Die(server.status());
  std::vector<std::string> blocks;
  for (uint64_t i = 0; i < kNumRecords; ++i) {
    blocks.push_back(testing::MakeSyntheticBlock(testing::MakeSyntheticDescription(Records()),
                                                 {testing::SyntheticImageKey(i), 0}));
  }
  RawService raw(std::move(blocks));
  int ports[2] = {(*server)->port(), 0};
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &ports[1]);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  builder.RegisterService(&raw);
  const std::unique_ptr<grpc::Server> raw_server = builder.BuildAndStart();
  if (write(pipe, ports, sizeof(ports)) != sizeof(ports)) std::exit(EXIT_FAILURE);
  pause();
  std::exit(EXIT_SUCCESS);
}

double Seconds(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// CPU seconds that this process and `pid` have used so far.
double CpuSeconds(pid_t pid) {
  rusage own;
  getrusage(RUSAGE_SELF, &own);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + time.tv_usec / 1e6;
  };
  double total = seconds(own.ru_utime) + seconds(own.ru_stime);
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string field;
  for (int i = 1; i <= 15 && stat >> field; ++i) {
    if (i >= 14)
      total += std::atof(field.c_str()) / static_cast<double>(sysconf(_SC_CLK_TCK));  // utime, stime
  }
  return total;
}

// Bytes per second of `num_epochs` epochs, block bytes only.
double MeasureEpochs(EpochSource& source, EpochRequest request, int num_epochs) {
  uint64_t bytes = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int epoch = 0; epoch < num_epochs; ++epoch) {
    request.epoch = epoch;
    absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(request);
    if (!stream.ok()) Die(stream.status());
    while (true) {
      absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      if (!frame.ok()) Die(frame.status());
      if (!frame->has_value()) break;
      if ((*frame)->state != RecordState::kOk) Die(absl::InternalError("a record is not OK"));
      bytes += (*frame)->block.bytes.size();
      (*stream)->ReturnCredit((*frame)->CostBytes());
    }
  }
  return static_cast<double>(bytes) / Seconds(start);
}

double MeasureRaw(const std::shared_ptr<grpc::Channel>& channel, int num_messages) {
  uint64_t bytes = 0;
  const auto start = std::chrono::steady_clock::now();
  grpc::ClientContext context;
  const grpc::internal::RpcMethod method(kRawMethod, grpc::internal::RpcMethod::BIDI_STREAMING, channel);
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), method, &context));
  const grpc::Slice count(std::to_string(num_messages));
  stream->Write(grpc::ByteBuffer(&count, 1));
  stream->WritesDone();
  for (grpc::ByteBuffer message; stream->Read(&message);) bytes += message.Length();
  if (const grpc::Status status = stream->Finish(); !status.ok())
    Die(absl::InternalError(status.error_message()));
  return static_cast<double>(bytes) / Seconds(start);
}

// Resident memory of a process, MiB, at its highest.
double PeakMemory(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::atof(line.c_str() + 6) / 1024;
  }
  return 0;
}

int Main(int num_rounds, int megabytes) {
  int pipes[2];
  if (pipe(pipes) != 0) return EXIT_FAILURE;
  const pid_t server = fork();  // before gRPC has started a thread
  if (server == 0) RunServer(pipes[1]);
  int ports[2];
  if (read(pipes[0], ports, sizeof(ports)) != sizeof(ports)) return EXIT_FAILURE;

  Prepared prepared;  // for the request and the size only
  if (absl::Status status = Prepare(prepared); !status.ok()) Die(status);
  absl::StatusOr<std::shared_ptr<Connection>> connection =
      Connection::Open("grpc://127.0.0.1:" + std::to_string(ports[0]), {});
  if (!connection.ok()) Die(connection.status());
  RemoteEpochSource source(*connection);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const std::shared_ptr<grpc::Channel> raw = grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(ports[1]), grpc::InsecureChannelCredentials(), arguments);

  const double epoch_bytes = static_cast<double>(prepared.block_bytes) * kNumRecords;
  const int num_epochs = std::max(1, static_cast<int>(megabytes * 1e6 / epoch_bytes));
  const int num_messages = num_epochs * static_cast<int>(kNumRecords);
  MeasureRaw(raw, num_messages);
  MeasureEpochs(source, prepared.request, num_epochs);
  std::vector<double> epoch_rates;
  std::vector<double> raw_rates;
  std::vector<double> epoch_cpu;
  std::vector<double> raw_cpu;
  for (int round = 0; round < num_rounds; ++round) {
    // The order changes, so that a trend favours neither.
    for (int turn = 0; turn < 2; ++turn) {
      const double cpu_before = CpuSeconds(server);
      if ((turn + round) % 2 == 0) {
        epoch_rates.push_back(MeasureEpochs(source, prepared.request, num_epochs));
        epoch_cpu.push_back(CpuSeconds(server) - cpu_before);
      } else {
        raw_rates.push_back(MeasureRaw(raw, num_messages));
        raw_cpu.push_back(CpuSeconds(server) - cpu_before);
      }
    }
  }
  const PairedResult result = ComparePaired(epoch_rates, raw_rates);
  std::printf("records of %.0f KB, %d rounds of %d epochs (%.0f MB)\n", prepared.block_bytes / 1e3,
              num_rounds, num_epochs, num_epochs * epoch_bytes / 1e6);
  const double gigabytes = num_epochs * epoch_bytes / 1e9;
  std::printf("ReadEpoch             %.2f GB/s, %.2f CPU-s/GB (medians; client and server together)\n",
              Median(epoch_rates) / 1e9, Median(epoch_cpu) / gigabytes);
  std::printf("raw ByteBuffer stream %.2f GB/s, %.2f CPU-s/GB\n", Median(raw_rates) / 1e9,
              Median(raw_cpu) / gigabytes);
  std::printf("ratio                 %.2f, 95 %% interval %.2f to %.2f (wanted: at least 0.6)\n",
              result.median_ratio, result.low, result.high);
  // It holds the records twice: in the catalog, and for the raw stream.
  std::printf("server's peak memory  %.0f MiB, of which records %.0f MiB\n", PeakMemory(server),
              2 * epoch_bytes / (1 << 20));
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  return result.median_ratio >= 0.6 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  return afterimage::benchmarks::Main(argc > 1 ? std::atoi(argv[1]) : 21,
                                      argc > 2 ? std::atoi(argv[2]) : 600);
}
