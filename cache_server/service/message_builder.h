// Builds a protobuf message out of slices, so that a feature block goes from the store to the socket without
// being copied.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/bytes.h"

namespace afterimage {

// Makes the bytes of a message with one repeated field of submessages, each of which ends with a `bytes`
// field. Any protobuf parser reads them. Not thread-safe.
class MessageBuilder {
 public:
  // Field numbers: of the submessage in the message, and of the block in the submessage (its last field, so
  // that the bytes are what the generated code would write).
  MessageBuilder(int entry_field, int block_field) : entry_field_(entry_field), block_field_(block_field) {}

  // `header`: the submessage without its block. An empty block is left out, as proto3 does. The block's owner
  // is kept until gRPC has sent it.
  void Add(const google::protobuf::MessageLite& header, const PinnedBytes& block);
  // Any other field of the message, already serialized.
  void AppendFields(const google::protobuf::MessageLite& message);

  size_t bytes() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }
  // What has been added, as one message; the builder is empty again.
  grpc::ByteBuffer Take();

 private:
  void EndPendingSlice();

  const int entry_field_;
  const int block_field_;
  size_t bytes_ = 0;
  std::string pending_;  // headers and small blocks, not yet a slice
  std::vector<grpc::Slice> slices_;
};

}  // namespace afterimage
