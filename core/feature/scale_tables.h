// The constants that quantised rows of one level are decoded with, in one piece of memory for a device.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/bytes.h"
#include "core/feature/decode_rows.h"
#include "core/feature/profile.h"

namespace afterimage {

// Means and, for every codec of a profile, steps of each channel (of ezq those that are the
// channel's own); the wide channels and the levels of packed rows. Whatever codec a block of the level turns
// out to have, its numbers are here: 28 bytes a channel. Immutable, thread-safe.
class ScaleTables {
 public:
  // Of a level that has no profile: no bytes, and a view of nulls. Enough for f32, f16 and bf16 rows.
  ScaleTables() = default;
  explicit ScaleTables(const LevelCodes& codes);

  // What to copy to the device, where it is to be aligned to 4 bytes.
  ByteSpan bytes() const { return bytes_; }
  // Of the copy at `base`, which may be memory of a device: it is not looked at.
  ScaleView View(const uint8_t* base) const;

 private:
  uint32_t width_ = 0;
  std::vector<uint8_t> bytes_;
};

}  // namespace afterimage
