#include "trainer/run/event_file.h"

#include <isa-l/crc.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "core/base/bytes.h"
#include "core/base/status_macros.h"
#include "core/drawing/canvas.h"
#include "trainer/run/event.pb.h"

namespace afterimage::trainer {
namespace {

constexpr char kPrefix[] = "events.out.tfevents.";

// TFRecord's checksum: CRC32C, rotated and shifted so that it may stand within bytes that have one of their
// own (tensorflow/core/lib/hash/crc32c.h).
uint32_t MaskedCrc32c(absl::string_view bytes) {
  constexpr uint32_t kAll = 0xffffffff;
  auto* const data = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));  // only read
  const uint32_t crc = ~crc32_iscsi(data, static_cast<int>(bytes.size()), kAll);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

void AppendRecord(const events::Event& event, std::string& out) {
  const std::string bytes = event.SerializeAsString();
  std::string length;
  AppendLittleEndian(static_cast<uint64_t>(bytes.size()), length);
  out += length;
  AppendLittleEndian(MaskedCrc32c(length), out);
  out += bytes;
  AppendLittleEndian(MaskedCrc32c(bytes), out);
}

events::Event EventAt(uint64_t step) {
  events::Event event;
  event.set_wall_time(absl::ToUnixMicros(absl::Now()) / 1e6);
  event.set_step(static_cast<int64_t>(step));
  return event;
}

// The second of now, or one above those of the event files in `folder`: a run may begin and stop within one.
int64_t NextSecond(const std::string& folder) {
  int64_t second = absl::ToUnixSeconds(absl::Now());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view rest = name;
    int64_t other = 0;
    if (absl::ConsumePrefix(&rest, kPrefix) && absl::SimpleAtoi(rest.substr(0, rest.find('.')), &other))
      second = std::max(second, other + 1);
  }
  return second;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventFile>> EventFile::Create(const std::string& folder, uint64_t next_step) {
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0') host[0] = '-';
  const std::string path = absl::StrCat(folder, "/", kPrefix, NextSecond(folder), ".", host, ".", getpid());
  std::string begin;
  events::Event version = EventAt(0);
  version.set_file_version("brain.Event:2");
  AppendRecord(version, begin);
  events::Event start = EventAt(next_step);
  start.mutable_session_log()->set_status(events::SessionLog::START);
  AppendRecord(start, begin);
  AFTERIMAGE_ASSIGN_OR_RETURN(auto file, AppendFile::Create(path, begin));
  return std::unique_ptr<EventFile>(new EventFile(std::move(file)));
}

void EventFile::Scalars(uint64_t step, std::span<const NamedValue> values) {
  events::Event event = EventAt(step);
  for (const NamedValue& value : values) {
    events::Summary::Value& out = *event.mutable_summary()->add_value();
    out.set_tag(value.name);
    out.set_simple_value(static_cast<float>(value.value));
  }
  AppendRecord(event, file_->waiting());
}

absl::Status EventFile::Image(uint64_t step, absl::string_view tag, const RgbImage& image) {
  AFTERIMAGE_ASSIGN_OR_RETURN(std::string png, EncodePng(image));
  events::Event event = EventAt(step);
  events::Summary::Value& value = *event.mutable_summary()->add_value();
  value.set_tag(std::string(tag));
  events::Summary::Image& out = *value.mutable_image();
  out.set_width(static_cast<int32_t>(image.width));
  out.set_height(static_cast<int32_t>(image.height));
  out.set_colorspace(3);  // RGB
  out.set_encoded_image_string(std::move(png));
  AppendRecord(event, file_->waiting());
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
