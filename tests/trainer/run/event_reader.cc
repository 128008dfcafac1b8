#include "tests/trainer/run/event_reader.h"

#include <algorithm>
#include <filesystem>

#include "core/base/bytes.h"
#include "core/base/files.h"
#include "gtest/gtest.h"
#include "trainer/run/event.pb.h"

namespace afterimage::trainer::testing {
namespace {

// Bit by bit from the polynomial, unlike the writer's: what TFRecord's mask makes of CRC32C.
uint32_t MaskedCrc32c(absl::string_view bytes) {
  constexpr uint32_t kReversedPolynomial = 0x82f63b78;
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? kReversedPolynomial : 0);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename T>
T Take(absl::string_view& bytes) {
  const T value = LoadLittleEndian<T>(reinterpret_cast<const uint8_t*>(bytes.data()));
  bytes.remove_prefix(sizeof(T));
  return value;
}

void AddEvent(const events::Event& event, std::vector<ReadEvent>& out) {
  ReadEvent read{.step = event.step()};
  EXPECT_GT(event.wall_time(), 1.5e9);
  if (event.what_case() != events::Event::kSummary) {
    read.file_version = event.file_version();
    read.is_start = event.session_log().status() == events::SessionLog::START;
    out.push_back(read);
    return;
  }
  for (const events::Summary::Value& value : event.summary().value()) {
    read.tag = value.tag();
    read.scalar = value.simple_value();
    read.png = value.image().encoded_image_string();
    out.push_back(read);
  }
}

}  // namespace

std::vector<ReadEvent> ReadEventFile(const std::string& path) {
  std::vector<ReadEvent> events;
  const absl::StatusOr<std::string> content = ReadFile(path);
  EXPECT_TRUE(content.ok()) << content.status();
  if (!content.ok()) return events;
  absl::string_view rest = *content;
  while (!rest.empty()) {
    constexpr size_t kHeader = 8 + 4;  // length, checksum
    if (rest.size() < kHeader) {
      ADD_FAILURE() << "half a record";
      return events;
    }
    const absl::string_view length_bytes = rest.substr(0, 8);
    const auto length = Take<uint64_t>(rest);
    EXPECT_EQ(Take<uint32_t>(rest), MaskedCrc32c(length_bytes));
    if (rest.size() < length + 4) {
      ADD_FAILURE() << "half a record";
      return events;
    }
    const absl::string_view bytes = rest.substr(0, length);
    rest.remove_prefix(length);
    EXPECT_EQ(Take<uint32_t>(rest), MaskedCrc32c(bytes));
    events::Event event;
    EXPECT_TRUE(event.ParseFromString(std::string(bytes)));
    AddEvent(event, events);
  }
  return events;
}

std::vector<ReadEvent> ReadEventFolder(const std::string& folder) {
  std::vector<ReadEvent> all;
  for (const std::string& path : EventFiles(folder)) {
    for (ReadEvent& event : ReadEventFile(path)) {
      if (event.is_start)
        std::erase_if(all, [&](const ReadEvent& e) { return e.step >= event.step && !e.tag.empty(); });
      all.push_back(std::move(event));
    }
  }
  return all;
}

std::vector<std::string> EventFiles(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().find("tfevents") != std::string::npos)
      paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace afterimage::trainer::testing
