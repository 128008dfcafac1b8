#include "cache_server/service/message_builder.h"

#include <google/protobuf/io/coded_stream.h>

#include <memory>
#include <utility>

namespace afterimage {
namespace {

// Below this, copying is cheaper than another piece of a scattered write.
constexpr size_t kCopyBelowBytes = 8 << 10;

void AppendVarint(uint64_t value, std::string& target) {
  while (value >= 0x80) {
    target.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  target.push_back(static_cast<char>(value));
}

uint32_t BytesTag(int field) { return (static_cast<uint32_t>(field) << 3) | 2; }  // 2: length-delimited

size_t VarintSize(uint64_t value) { return google::protobuf::io::CodedOutputStream::VarintSize64(value); }

// A slice that keeps `owner` until gRPC lets go of it.
template <typename Owner>
grpc::Slice OwningSlice(const void* data, size_t size, Owner owner) {
  auto* held = new Owner(std::move(owner));
  return grpc::Slice(
      const_cast<void*>(data), size, [](void* pointer) { delete static_cast<Owner*>(pointer); }, held);
}

}  // namespace

void MessageBuilder::Add(const google::protobuf::MessageLite& header, const PinnedBytes& block) {
  const size_t pending_before = pending_.size();
  const size_t header_bytes = header.ByteSizeLong();
  const size_t block_bytes = block.bytes.size();
  const size_t block_prefix =
      block_bytes == 0 ? 0 : VarintSize(BytesTag(block_field_)) + VarintSize(block_bytes);
  AppendVarint(BytesTag(entry_field_), pending_);
  AppendVarint(header_bytes + block_prefix + block_bytes, pending_);
  header.AppendToString(&pending_);
  if (block_bytes > 0) {
    AppendVarint(BytesTag(block_field_), pending_);
    AppendVarint(block_bytes, pending_);
  }
  bytes_ += pending_.size() - pending_before + block_bytes;
  if (block_bytes < kCopyBelowBytes) {
    pending_.append(reinterpret_cast<const char*>(block.bytes.data()), block_bytes);
    return;
  }
  EndPendingSlice();
  slices_.push_back(OwningSlice(block.bytes.data(), block_bytes, block.owner));
}

void MessageBuilder::AppendFields(const google::protobuf::MessageLite& message) {
  const size_t before = pending_.size();
  message.AppendToString(&pending_);
  bytes_ += pending_.size() - before;
}

grpc::ByteBuffer MessageBuilder::Take() {
  EndPendingSlice();
  grpc::ByteBuffer buffer(slices_.data(), slices_.size());
  slices_.clear();
  bytes_ = 0;
  return buffer;
}

void MessageBuilder::EndPendingSlice() {
  if (pending_.empty()) return;
  auto text = std::make_unique<std::string>(std::exchange(pending_, {}));
  const char* data = text->data();
  const size_t size = text->size();
  slices_.push_back(OwningSlice(data, size, std::move(text)));
}

}  // namespace afterimage
