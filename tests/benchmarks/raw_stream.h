// The yardstick of the endpoint: a synchronous gRPC stream of byte buffers that does nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tests/benchmarks/endpoint_data.h"

namespace grpc {
class Channel;
}

namespace afterimage::benchmarks {

// Serves the blocks of a memory map, whole, each a message of one slice that points into the map. Says
// "ready PORT" on standard output and serves until it is killed; at a unix socket, too. Arguments as in
// EndpointData.
[[noreturn]] void ServeRawStream(const std::string& block_file, const std::string& order_file,
                                 uint64_t block_bytes, const std::string& socket);

// `address`: as gRPC has it.
std::shared_ptr<grpc::Channel> OpenRawChannel(const std::string& address);

// Reads `num_messages` blocks, copying each message's slices into the tensor; in the order of the file, or the
// first one again and again. The bytes.
enum class RawOrder { kShuffled, kConstant };
uint64_t ReadRawInto(const std::shared_ptr<grpc::Channel>& channel, RawOrder order, uint64_t num_messages,
                     BatchTensor& tensor);

}  // namespace afterimage::benchmarks
