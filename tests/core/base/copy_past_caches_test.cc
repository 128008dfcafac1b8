#include "core/base/copy_past_caches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace afterimage {
namespace {

TEST(CopyPastCachesTest, CopiesAllOfItAndNothingElse) {
  constexpr size_t kMargin = 64, kMost = kPastCachesFromBytes + 300;
  std::vector<uint8_t> source(kMost + kMargin);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<uint8_t>(i * 131 >> 3 | 1);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{200}, kPastCachesFromBytes - 1, kPastCachesFromBytes,
                            kPastCachesFromBytes + 1, kPastCachesFromBytes + 127, kMost}) {
    for (const size_t target_offset : {0, 1, 31, 32}) {
      for (const size_t source_offset : {0, 7}) {
        std::vector<uint8_t> target(size + 2 * kMargin, 0);
        uint8_t* const place = target.data() + kMargin / 2 + target_offset;
        CopyPastCaches(place, source.data() + source_offset, size);
        std::vector<uint8_t> expected(target.size(), 0);
        std::copy_n(source.data() + source_offset, size, expected.data() + (place - target.data()));
        ASSERT_EQ(target, expected) << size << " " << target_offset << " " << source_offset;
      }
    }
  }
}

}  // namespace
}  // namespace afterimage
