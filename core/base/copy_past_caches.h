// Copies of what is not read soon.
#pragma once

#include <cstddef>
#include <cstdint>

namespace afterimage {

// Below it a copy is made as memcpy makes it: the batch that it goes to may well stay in the caches.
inline constexpr size_t kPastCachesFromBytes = 64 << 10;

// memcpy of bytes that are part of something larger than the processor's caches: a batch, which a device or a
// much later step reads. Cached stores would fetch each line before they overwrite it, and drive out what is
// needed sooner. Other threads may be told of the copy as of any.
void CopyPastCaches(uint8_t* target, const uint8_t* source, size_t size);

}  // namespace afterimage
