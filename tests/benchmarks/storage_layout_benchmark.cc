// One value per record, or one per section? Measures what docs/decisions/0002-rocksdb-layout.md decides by.
//   storage_layout_benchmark FOLDER [NUM_RECORDS]
// Writes both layouts with the options of the folder cache, then reads records in random order as three kinds
// of readers do, warm and with the files dropped from the page cache. Prints one table.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cache_server/storage/rocksdb_options.h"
#include "rocksdb/db.h"
#include "rocksdb/sst_file_writer.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;

// ViT-B/16, five levels of int8 rows, raw pixels (design.md section 3).
struct Shape {
  const char* name;
  size_t tokens;
};
constexpr size_t kLevels = 5;
constexpr size_t kWidth = 768;         // of a level's row and of a patch's pixels alike
constexpr size_t kHeaderBytes = 1024;  // header, section table, importance
constexpr size_t kVisible = 58;
constexpr Shape kShapes[] = {{"all", 197}, {"visible", 59}};

void Require(const rocksdb::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// Sections: 0 the header, 1..5 the levels, 6 the pixels.
size_t SectionBytes(const Shape& shape, size_t section) {
  if (section == 0) return kHeaderBytes;
  return (section <= kLevels ? shape.tokens : shape.tokens - 1) * kWidth;
}
size_t SectionOffset(const Shape& shape, size_t section) {
  size_t offset = 0;
  for (size_t i = 0; i < section; ++i) offset += SectionBytes(shape, i);
  return offset;
}
constexpr size_t kSections = kLevels + 2;

std::string RecordKey(size_t index) {
  char key[21];
  std::snprintf(key, sizeof(key), "%020zu", index);
  return key;
}

class Layout {
 public:
  Layout(const fs::path& folder, const Shape& shape, size_t num_records, bool per_section)
      : folder_(folder / (std::string(shape.name) + (per_section ? ".sections" : ".records"))),
        shape_(shape),
        per_section_(per_section) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    rocksdb::Options options = SetDatabaseOptions(/*direct_reads=*/false);
    options.create_if_missing = true;
    rocksdb::DB* db = nullptr;
    Require(rocksdb::DB::Open(options, (folder_ / "db").string(), &db));
    db_.reset(db);
    const std::string file = (folder_ / "unit.sst").string();
    rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
    Require(writer.Open(file));
    std::mt19937_64 random(1);
    std::string record(SectionOffset(shape, kSections), '\0');
    for (size_t i = 0; i < num_records; ++i) {
      for (size_t at = 0; at + 8 <= record.size(); at += 8) {
        const uint64_t value = random();
        std::memcpy(record.data() + at, &value, 8);
      }
      if (!per_section) Require(writer.Put(RecordKey(i), record));
      for (size_t section = 0; per_section && section < kSections; ++section) {
        Require(writer.Put(
            RecordKey(i) + static_cast<char>(section),
            rocksdb::Slice(record.data() + SectionOffset(shape, section), SectionBytes(shape, section))));
      }
    }
    Require(writer.Finish());
    rocksdb::IngestExternalFileOptions ingest;
    ingest.move_files = true;
    ingest.write_global_seqno = false;
    Require(db_->IngestExternalFile({file}, ingest));
  }
  ~Layout() {
    db_.reset();
    fs::remove_all(folder_);
  }

  void DropFromPageCache() {
    for (const auto& entry : fs::directory_iterator(folder_ / "db")) {
      const int fd = open(entry.path().c_str(), O_RDONLY);
      fsync(fd);
      posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      close(fd);
    }
  }

  // Reads the sections of a record and copies `rows` rows of each level and of the pixels (all where 0);
  // returns bytes copied.
  size_t Read(size_t index, const std::vector<size_t>& sections, size_t rows, std::string& target) {
    size_t copied = 0;
    rocksdb::PinnableSlice value;
    if (!per_section_) Get(RecordKey(index), value);
    for (const size_t section : sections) {
      if (per_section_) {
        value.Reset();
        Get(RecordKey(index) + static_cast<char>(section), value);
      }
      const char* start = value.data() + (per_section_ ? 0 : SectionOffset(shape_, section));
      if (rows == 0 || section == 0) {
        std::memcpy(target.data() + copied, start, SectionBytes(shape_, section));
        copied += SectionBytes(shape_, section);
        continue;
      }
      for (size_t row = 0; row < rows; ++row) {
        std::memcpy(target.data() + copied, start + (row * 3 + index % 3) * kWidth, kWidth);
        copied += kWidth;
      }
    }
    return copied;
  }

 private:
  void Get(const std::string& key, rocksdb::PinnableSlice& value) {
    Require(db_->Get(RecordReadOptions(/*verify_checksums=*/true), db_->DefaultColumnFamily(), key, &value));
  }

  const fs::path folder_;
  const Shape shape_;
  const bool per_section_;
  std::unique_ptr<rocksdb::DB> db_;
};

struct Reader {
  const char* name;
  std::vector<size_t> sections;
  size_t rows;
};

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Measure(Layout& layout, const Shape& shape, const Reader& reader, const std::vector<size_t>& order,
             bool cold, const char* layout_name) {
  std::string target(SectionOffset(shape, kSections), '\0');
  double best = 1e9;
  double cpu = 0;
  size_t bytes = 0;
  const int repeats = 3;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    if (cold) layout.DropFromPageCache();
    if (!cold && repeat == 0) {
      for (const size_t index : order) layout.Read(index, reader.sections, reader.rows, target);
    }
    bytes = 0;
    const double cpu_before = CpuSeconds();
    const auto start = std::chrono::steady_clock::now();
    for (const size_t index : order) bytes += layout.Read(index, reader.sections, reader.rows, target);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds < best) {
      best = seconds;
      cpu = CpuSeconds() - cpu_before;
    }
  }
  const double n = static_cast<double>(order.size());
  std::printf("| %s | %s | %s | %s | %.0f | %.0f | %.0f |\n", shape.name, reader.name, cold ? "cold" : "warm",
              layout_name, best / n * 1e6, cpu / n * 1e6, static_cast<double>(bytes) / n / 1000);
  std::fflush(stdout);
}

void Run(const fs::path& folder, size_t num_records) {
  std::printf(
      "| tokens | reader | page cache | layout | microseconds a record | CPU microseconds | KB wanted |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const Shape& shape : kShapes) {
    // As many bytes of either shape.
    const size_t records = num_records * kShapes[0].tokens / shape.tokens;
    Layout per_record(folder, shape, records, false);
    Layout per_section(folder, shape, records, true);
    std::vector<size_t> order(records);
    for (size_t i = 0; i < records; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
    std::vector<Reader> readers = {{"whole record", {0, 1, 2, 3, 4, 5, 6}, 0},
                                   {"one level of five", {0, 3}, 0}};
    if (shape.tokens > kVisible + 1) readers.push_back({"visible rows", {0, 1, 2, 3, 4, 5, 6}, kVisible});
    for (const Reader& reader : readers) {
      for (const bool cold : {false, true}) {
        Measure(per_record, shape, reader, order, cold, "value per record");
        Measure(per_section, shape, reader, order, cold, "value per section");
      }
    }
  }
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: storage_layout_benchmark FOLDER [NUM_RECORDS]\n");
    return 2;
  }
  afterimage::Run(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 500);
  return 0;
}
