// Rates of reading a feature block, beside a plain memcpy of the same plane: ViT-B/16, five levels, all
// tokens.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/feature/feature_block.h"
#include "core/mask/mask.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

constexpr absl::Duration kMeasureTime = absl::Seconds(1);
constexpr int kNumRecords = 64;  // some 100 MB: more than the caches hold

// Calls `work(i)` for records 0, 1, … in turn; prints microseconds a call and the rate of `bytes` a call.
template <typename Work>
void Measure(const char* what, size_t bytes, const Work& work) {
  for (int i = 0; i < kNumRecords; ++i) work(i);
  const absl::Time start = absl::Now();
  int64_t calls = 0;
  while (absl::Now() - start < kMeasureTime) {
    for (int i = 0; i < kNumRecords; ++i, ++calls) work(i);
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::printf("%-58s %8.1f us %7.2f GB/s of stored bytes\n", what, 1e6 * seconds / static_cast<double>(calls),
              static_cast<double>(bytes) * static_cast<double>(calls) / seconds / 1e9);
}

void Run(Codec codec) {
  const SetDescription description = testing::MakeSyntheticDescription({.num_levels = 12,
                                                                        .levels = {8, 9, 10, 11, 12},
                                                                        .width = 768,
                                                                        .grid = 14,
                                                                        .view_size = 224,
                                                                        .codec = codec});
  // One record many times over: what matters is that the bytes lie in different places.
  const RecordKey key = {testing::SyntheticImageKey(0), 0};
  const std::string encoded = testing::MakeSyntheticBlock(description, key);
  std::vector<PinnedBytes> records;
  std::vector<FeatureBlock> blocks;
  for (int i = 0; i < kNumRecords; ++i) {
    records.push_back(PinnedBytes::FromString(encoded));
    blocks.push_back(FeatureBlock::Parse(records.back().bytes).value());
  }
  const MaskSpec spec = {.num_visible = NumVisible(196, 0.7)};
  const std::vector<uint16_t> mask = DrawMask(spec, key.image, 0, 0, blocks[0].Importance().value()).value();
  std::vector<uint16_t> rows = {0};
  for (const uint16_t patch : mask) rows.push_back(static_cast<uint16_t>(patch + 1));
  const size_t row_bytes = size_t{768} * (codec == Codec::kF32 ? 4 : 2);
  const size_t plane_bytes = 197 * row_bytes;
  std::vector<float> values(197 * 768);
  const std::span<float> visible = std::span(values).first(rows.size() * 768);

  std::printf("codec %s, record of %zu bytes\n", CodecName(codec).c_str(), encoded.size());
  Measure("memcpy of a plane", plane_bytes, [&](int i) {
    std::memcpy(values.data(), records[i].bytes.data() + records[i].bytes.size() / 2, plane_bytes);
  });
  Measure("XXH3-64 of a plane", plane_bytes, [&](int i) {
    values[0] =
        static_cast<float>(Xxh3_64(records[i].bytes.subspan(records[i].bytes.size() / 2, plane_bytes)));
  });
  Measure("ReadLevel, all rows (verified)", plane_bytes,
          [&](int i) { (void)blocks[i].ReadLevel(12, {}, values).ok(); });
  Measure("ReadLevel, 59 visible rows (whole plane verified)", rows.size() * row_bytes,
          [&](int i) { (void)blocks[i].ReadLevel(12, rows, visible).ok(); });
  Measure("Parse", encoded.size(), [&](int i) { (void)FeatureBlock::Parse(records[i].bytes).ok(); });
  Measure("SelectFromBlock, the whole (verified, not copied)", encoded.size(),
          [&](int i) { (void)SelectFromBlock(blocks[i], records[i], {}, {}).ok(); });
  Measure("SelectFromBlock, 59 visible rows, 5 levels and pixels", encoded.size(), [&](int i) {
    (void)SelectFromBlock(blocks[i], records[i], {.tokens = Selection::Tokens::kMask}, mask).ok();
  });
  const FeatureRecord record = blocks[0].ToRecord().value();
  Measure("EncodeFeatureBlock", encoded.size(), [&](int) { (void)EncodeFeatureBlock(record, codec).ok(); });
}

}  // namespace
}  // namespace afterimage

int main() {
  afterimage::Run(afterimage::Codec::kF16);
  afterimage::Run(afterimage::Codec::kF32);
  return 0;
}
