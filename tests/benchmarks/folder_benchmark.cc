// What the embedded store carries into a batch tensor, beside LMDB and the formats that trainers know, with
// the same records in the same shuffled order; from the page cache, and from the disk.
//
//   folder_benchmark FOLDER [--rounds 15] [--size 230] [--python PYTHON] [--brief]
//
// --brief: from the page cache alone. FOLDER takes 5 GB for each size (15 GB with PYTHON, one that has h5py,
// webdataset, mosaicml-streaming and pylance) and is kept for the next run; it must lie on the disk that is
// to be measured.
#include <fcntl.h>
#include <lmdb.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
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
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {
namespace {

namespace fs = std::filesystem;

constexpr char kScript[] = AFTERIMAGE_SOURCE_DIR "/tests/benchmarks/endpoint_anchors.py";
constexpr int kColdThreads = 8;

void RequireLmdb(int code) {
  if (code != MDB_SUCCESS) Require(absl::InternalError(mdb_strerror(code)));
}

// Keys are numbers in the machine's order; values are whole blocks.
class Lmdb {
 public:
  Lmdb(const EndpointData& data, const fs::path& folder) {
    const bool is_new = !fs::exists(folder / "done");
    fs::create_directories(folder);
    RequireLmdb(mdb_env_create(&environment_));
    RequireLmdb(mdb_env_set_mapsize(environment_, data.bytes() + data.bytes() / 4 + (64 << 20)));
    // With the kernel's read-ahead: without it each page of a record is a read of its own.
    RequireLmdb(mdb_env_open(environment_, folder.c_str(), is_new ? 0 : MDB_RDONLY, 0644));
    if (is_new) Write(data);
    if (is_new) std::ofstream(folder / "done") << "whole\n";
    RequireLmdb(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction_));
    RequireLmdb(mdb_dbi_open(transaction_, nullptr, MDB_INTEGERKEY, &database_));
  }
  ~Lmdb() {
    mdb_txn_abort(transaction_);
    mdb_env_close(environment_);
  }

  const uint8_t* Find(uint64_t index, uint64_t block_bytes) {
    MDB_val key{sizeof(index), &index};
    MDB_val value;
    RequireLmdb(mdb_get(transaction_, database_, &key, &value));
    if (value.mv_size != block_bytes) Require(absl::InternalError("a value of another size"));
    return static_cast<const uint8_t*>(value.mv_data);
  }

 private:
  void Write(const EndpointData& data) {
    std::ifstream blocks(data.block_file, std::ios::binary);
    std::string block(data.block_bytes, '\0');
    RequireLmdb(mdb_txn_begin(environment_, nullptr, 0, &transaction_));
    RequireLmdb(mdb_dbi_open(transaction_, nullptr, MDB_INTEGERKEY, &database_));
    for (uint64_t i = 0; i < data.num_records; ++i) {
      blocks.read(block.data(), static_cast<std::streamsize>(block.size()));
      MDB_val key{sizeof(i), &i};
      MDB_val value{block.size(), block.data()};
      RequireLmdb(mdb_put(transaction_, database_, &key, &value, MDB_APPEND));
    }
    RequireLmdb(mdb_txn_commit(transaction_));
  }

  MDB_env* environment_ = nullptr;
  MDB_txn* transaction_ = nullptr;
  MDB_dbi database_ = 0;
};

std::vector<uint32_t> ReadOrder(const EndpointData& data) {
  std::vector<uint32_t> order(data.num_records);
  std::ifstream file(data.order_file, std::ios::binary);
  file.read(reinterpret_cast<char*>(order.data()), static_cast<std::streamsize>(order.size() * 4));
  if (!file) Require(absl::DataLossError("cannot read " + data.order_file));
  return order;
}

// A plain file, mapped: as fast as copying gets.
const uint8_t* MapFile(const std::string& path, uint64_t bytes) {
  const int fd = open(path.c_str(), O_RDONLY);
  void* map = mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (fd < 0 || map == MAP_FAILED) Require(absl::NotFoundError("cannot map " + path));
  close(fd);
  return static_cast<const uint8_t*>(map);
}

// What the disk gives: blocks of a plain file by several threads in shuffled order, or all of it by one from
// front to back.
uint64_t ReadPlainRandom(const EndpointData& data, const std::vector<uint32_t>& order) {
  const int fd = open(data.block_file.c_str(), O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  std::atomic<uint64_t> next = 0;
  std::atomic<uint64_t> bytes = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kColdThreads; ++i) {
    threads.emplace_back([&] {
      std::vector<char> buffer(data.block_bytes);
      for (uint64_t position = next++; position < order.size(); position = next++)
        bytes +=
            pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(order[position] * data.block_bytes));
    });
  }
  for (std::thread& thread : threads) thread.join();
  close(fd);
  return bytes;
}
uint64_t ReadPlainScan(const EndpointData& data) {
  const int fd = open(data.block_file.c_str(), O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  std::vector<char> buffer(4 << 20);
  uint64_t bytes = 0;
  for (ssize_t got = 0; (got = read(fd, buffer.data(), buffer.size())) > 0;) bytes += got;
  close(fd);
  return bytes;
}

void DropFromPageCache(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int fd = open(entry.path().c_str(), O_RDONLY);
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

struct Reader {
  std::string name;
  std::function<uint64_t()> read;  // bytes of records
  pid_t process = 0;               // 0: this one
  Side costs = {};                 // a byte
};
struct Comparison {
  size_t ours = 0;
  size_t other = 0;
  double bar = 0;
};

// `before`: before each measurement, off the clock.
void MeasureAndPrint(std::vector<Reader> readers, const std::vector<Comparison>& comparisons, int num_rounds,
                     const std::function<void()>& before) {
  const auto cpu_of = [](const Reader& reader) {
    return reader.process == 0 ? CpuSeconds() : CpuSecondsOf(reader.process);
  };
  const auto all_cpu = [&] {
    double total = CpuSeconds();
    for (const Reader& reader : readers) total += reader.process == 0 ? 0 : CpuSecondsOf(reader.process);
    return total;
  };
  Rounds rounds(num_rounds, 240, all_cpu);
  while (rounds.Next()) {
    for (size_t i = 0; i < readers.size(); ++i) {
      Reader& reader = readers[rounds.number() % 2 == 0 ? i : readers.size() - 1 - i];
      before();
      const double cpu = cpu_of(reader);
      const Stopwatch watch;
      const auto bytes = static_cast<double>(reader.read());
      const double wall = watch.Elapsed().wall;
      reader.costs.Add({wall / bytes, (cpu_of(reader) - cpu) / bytes});
    }
  }
  const std::vector<size_t> counted = rounds.Quietest();
  std::printf("| | GB/s | CPU-s/GB |\n|---|---|---|\n");
  for (const Reader& reader : readers) {
    const Side side = Select(reader.costs, counted);
    std::printf("| %s | %.2f | %.3f |\n", reader.name.c_str(), 1e-9 / Median(side.wall),
                1e9 * Median(side.cpu));
  }
  for (const Comparison& compared : comparisons) {
    const Reader& ours = readers[compared.ours];
    const Reader& other = readers[compared.other];
    PrintComparison(ours.name, other.name,
                    ComparePaired(Select(other.costs, counted).wall, Select(ours.costs, counted).wall),
                    compared.bar);
  }
  std::fflush(stdout);
}

// Copies every record to its place in the batch.
uint64_t CopyAll(const std::vector<uint32_t>& order, uint64_t block_bytes, BatchTensor& tensor,
                 const std::function<const uint8_t*(uint64_t index)>& find) {
  uint64_t sample = 0;
  for (const uint32_t index : order) std::memcpy(tensor.Sample(sample++), find(index), block_bytes);
  return block_bytes * sample;
}

class Benchmark {
 public:
  Benchmark(const fs::path& folder, const RecordShape& shape, int num_rounds)
      : data_(PrepareEndpointData(folder, shape)),
        place_(folder / shape.name),
        num_rounds_(num_rounds),
        order_(ReadOrder(data_)),
        tensor_(data_.block_bytes) {
    std::printf("\nrecords of %.1f KB, %llu of them\n", static_cast<double>(data_.block_bytes) / 1e3,
                static_cast<unsigned long long>(data_.num_records));
  }

  void Warm(const std::string& python) {
    Lmdb lmdb(data_, place_ / "lmdb");
    // The consumer reads, too.
    const OpenedCache one = Require(OpenCache(data_.cache, {.reader_threads = 0}));
    const OpenedCache two = Require(OpenCache(data_.cache, {.reader_threads = 1}));
    const uint8_t* const map = MapFile(data_.block_file, data_.bytes());
    std::vector<Reader> readers;
    readers.push_back({"folder, one thread", [&] { return ReadFolder(one); }});
    readers.push_back({"folder, two threads", [&] { return ReadFolder(two); }});
    readers.push_back({"memcpy from a mapped file", [&] {
                         return CopyAll(order_, data_.block_bytes, tensor_,
                                        [&](uint64_t index) { return map + index * data_.block_bytes; });
                       }});
    readers.push_back({"LMDB, which verifies nothing", [&] { return ReadLmdb(lmdb); }});
    std::vector<Comparison> comparisons = {{0, 3, 0.5}, {1, 3, 1.0}};
    std::vector<std::unique_ptr<LineProcess>> processes;
    const std::pair<const char*, const char*> kinds[] = {{"mds", "MosaicML Streaming"},
                                                         {"lance", "Lance"},
                                                         {"hdf5", "HDF5"},
                                                         {"webdataset", "WebDataset, front to back"}};
    for (const auto& [kind, name] : kinds) {
      if (python.empty()) break;
      processes.push_back(std::make_unique<LineProcess>(
          std::vector<std::string>{python, kScript, kind, place_.string(), data_.block_file, data_.order_file,
                                   absl::StrCat(data_.block_bytes)}));
      LineProcess* const process = processes.back().get();
      comparisons.push_back({0, readers.size(), 3.0});
      comparisons.push_back({1, readers.size(), 3.0});
      readers.push_back({name,
                         [process] {
                           uint64_t bytes = 0;
                           const std::string answer = process->Ask("read");
                           if (!absl::SimpleAtoi(answer, &bytes)) Require(absl::InternalError(answer));
                           return bytes;
                         },
                         process->pid()});
    }
    for (Reader& reader : readers) reader.read();  // touches everything once
    std::printf("from the page cache\n");
    MeasureAndPrint(std::move(readers), comparisons, num_rounds_, [] {});
    munmap(const_cast<uint8_t*>(map), data_.bytes());
  }

  void Cold() {
    const OpenedCache cache = Require(OpenCache(data_.cache, {.reader_threads = kColdThreads - 1}));
    std::vector<Reader> readers;
    readers.push_back({"folder, eight threads", [&] { return ReadFolder(cache); }});
    readers.push_back({"plain file, random, eight threads", [&] { return ReadPlainRandom(data_, order_); }});
    readers.push_back({"plain file, front to back", [&] { return ReadPlainScan(data_); }});
    // Opened here: what is mapped does not leave the page cache.
    readers.push_back({"LMDB", [&] {
                         Lmdb lmdb(data_, place_ / "lmdb");
                         return ReadLmdb(lmdb);
                       }});
    std::printf("from the disk\n");
    MeasureAndPrint(std::move(readers), {{0, 1, 0.9}, {0, 2, 0.9}, {0, 3, 0.9}}, num_rounds_,
                    [&] { DropFromPageCache(place_); });
  }

 private:
  uint64_t ReadFolder(const OpenedCache& cache) {
    return ReadEpochInto(*cache.epoch_source, data_.request, tensor_);
  }
  uint64_t ReadLmdb(Lmdb& lmdb) {
    return CopyAll(order_, data_.block_bytes, tensor_,
                   [&](uint64_t index) { return lmdb.Find(index, data_.block_bytes); });
  }

  const EndpointData data_;
  const fs::path place_;
  const int num_rounds_;
  const std::vector<uint32_t> order_;
  BatchTensor tensor_;
};

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  using namespace afterimage::benchmarks;
  afterimage::KeepFreedMemory();
  const EndpointArguments arguments = ParseEndpointArguments(argc, argv);
  PrintMachine();
  for (const RecordShape& shape : arguments.shapes) {
    Benchmark benchmark(arguments.folder, shape, arguments.rounds);
    benchmark.Warm(arguments.python);
    if (!arguments.brief) benchmark.Cold();
  }
  return EXIT_SUCCESS;
}
