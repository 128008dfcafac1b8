// What the service refuses; told to every client by GetCapabilities.
#pragma once

#include <cstdint>

namespace afterimage {

struct ServiceLimits {
  // Records of large teachers with many levels in f32 reach tens of megabytes; a stream holds one message at
  // a time.
  uint64_t max_message_bytes = 64 << 20;
  // A call's keys stay below 2 MB.
  uint32_t max_keys_per_call = 65536;
  // Each costs a thread or three, and its credit.
  uint32_t max_streams = 64;
  // Of them, those of one peer (PeerLimits::PeerOf); 0: as many as there are.
  uint32_t max_streams_per_peer = 0;
  // Short calls of one peer at once; 0: no limit. Half of the threads that a server has for them.
  uint32_t max_calls_per_peer = 32;
  // Of explicit positions; the rest of an epoch is one a step. Below 2 MB of a request.
  uint32_t max_position_ranges = 65536;
  uint64_t min_credit_bytes = 1 << 10;
  uint64_t max_credit_bytes = 1 << 30;
  // Of a stream's shared memory, which else has room for the credit and two frames: with more, what is under
  // way fits no cache, and looking for a place takes its time. 0: none is shared.
  uint64_t max_shared_bytes = 64 << 20;
  // Smaller blocks are sent in the message: there a copy costs less than a place.
  uint64_t min_shared_block_bytes = 8 << 10;
  // The answer names every wanted key, and must fit into one message.
  uint32_t max_units_per_claim = 64;
  // A manifest of 100 million images still fits.
  uint64_t max_transfer_bytes = uint64_t{4} << 30;
};

}  // namespace afterimage
