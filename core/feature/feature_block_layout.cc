#include "core/feature/feature_block_layout.h"

#include <algorithm>
#include <cstring>

namespace afterimage::block {
namespace {

template <typename T>
void Store(T value, size_t offset, std::string& bytes) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

}  // namespace

size_t Writer::Declare(SectionKind kind, uint32_t level, ElementType type, uint32_t rows, uint32_t columns) {
  entries_.push_back({kind, level, type, rows, columns});
  return entries_.size() - 1;
}

void Writer::DeclareExceptions(uint32_t level, const std::vector<PlaneException>& exceptions) {
  if (exceptions.empty()) return;
  Declare(SectionKind::kExceptions, level, ElementType::kException, 1,
          static_cast<uint32_t>(exceptions.size()));
  entries_.back().exceptions = exceptions.data();
}

void Writer::Allocate() {
  size_t end = kHeaderBytes + entries_.size() * kEntryBytes;
  for (Entry& entry : entries_) {
    entry.offset = Align(end);
    entry.length = size_t{entry.rows} * entry.columns * ElementBytes(entry.type);
    end = entry.offset + entry.length;
  }
  bytes_.assign(end, '\0');
  for (const Entry& entry : entries_) {
    if (entry.exceptions != nullptr)
      std::memcpy(bytes_.data() + entry.offset, entry.exceptions, entry.length);
  }
}

uint8_t* Writer::section(size_t index) {
  return reinterpret_cast<uint8_t*>(bytes_.data()) + entries_[index].offset;
}

std::string Writer::Seal(const Header& header, const Digest128* original) {
  const bool has_packed_pixels =
      std::ranges::find(entries_, ElementType::kPackedPixels, &Entry::type) != entries_.end();
  std::copy(kMagic.begin(), kMagic.end(), bytes_.begin());
  Store<uint32_t>(VersionOf(header.codec, has_packed_pixels), kVersionAt, bytes_);
  Store<uint32_t>(kHeaderBytes, kHeaderBytesAt, bytes_);
  Store<uint64_t>(bytes_.size(), kTotalBytesAt, bytes_);
  Store(header.kind, kKindAt, bytes_);
  Store(header.flags, kFlagsAt, bytes_);
  Store(header.codec, kCodecAt, bytes_);
  Store(static_cast<uint32_t>(entries_.size()), kNumSectionsAt, bytes_);
  const PixelBox& box = header.geometry.box;
  const uint32_t geometry[] = {
      header.geometry.image_width, header.geometry.image_height, box.x, box.y, box.width, box.height};
  std::memcpy(bytes_.data() + kGeometryAt, geometry, sizeof(geometry));
  Store(header.view_digest, kViewDigestAt, bytes_);
  Store(header.view_size, kViewSizeAt, bytes_);
  Store(header.grid, kGridAt, bytes_);
  Store(header.num_tokens, kNumTokensAt, bytes_);
  Store(header.num_masks, kNumMasksAt, bytes_);
  Store(header.width, kWidthAt, bytes_);
  std::memcpy(bytes_.data() + kProfileDigestAt, header.profile_digest.bytes.data(),
              header.profile_digest.bytes.size());

  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const size_t at = kHeaderBytes + i * kEntryBytes;
    Store(static_cast<uint16_t>(entry.kind), at, bytes_);
    Store(static_cast<uint16_t>(entry.level), at + 2, bytes_);
    Store(static_cast<uint8_t>(entry.type), at + 4, bytes_);
    Store(entry.rows, at + 8, bytes_);
    Store(entry.columns, at + 12, bytes_);
    Store<uint64_t>(entry.offset, at + 16, bytes_);
    Store<uint64_t>(entry.length, at + 24, bytes_);
    Store(Xxh3_64(AsBytes(bytes_).subspan(entry.offset, entry.length)), at + 32, bytes_);
  }

  const size_t head_bytes = kHeaderBytes + entries_.size() * kEntryBytes;
  const Digest128 digest =
      original != nullptr ? *original : RecordDigestOf(AsBytes(bytes_).first(head_bytes));
  Store(digest.low, kRecordDigestAt, bytes_);
  Store(digest.high, kRecordDigestAt + 8, bytes_);
  Store(HeaderChecksumOf(AsBytes(bytes_).first(head_bytes)), kHeaderChecksumAt, bytes_);
  return std::move(bytes_);
}

Digest128 RecordDigestOf(ByteSpan header_and_table) {
  std::string copy(reinterpret_cast<const char*>(header_and_table.data()), header_and_table.size());
  std::fill_n(copy.begin() + kRecordDigestAt, kHeaderBytes - kRecordDigestAt, '\0');
  return Xxh3_128(AsBytes(copy));
}

uint64_t HeaderChecksumOf(ByteSpan header_and_table) {
  std::string copy(reinterpret_cast<const char*>(header_and_table.data()), header_and_table.size());
  std::fill_n(copy.begin() + kHeaderChecksumAt, kHeaderBytes - kHeaderChecksumAt, '\0');
  return Xxh3_64(AsBytes(copy));
}

}  // namespace afterimage::block
