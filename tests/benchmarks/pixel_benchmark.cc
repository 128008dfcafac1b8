// What packed pixels take and how fast they are: views of photographs, patches of 16 and of 14 pixels, inside
// feature blocks (checksums and all), beside memcpy of the raw pixels. One thread.
//
//   pixel_benchmark FILE…        JPEG, PNG or WebP
//
// "all": records of all tokens, read whole, and by the rows of a mask of three in ten patches. "visible":
// records that hold no other patches. The last lines are the same residuals in Zstandard's frames: what the
// format would take without a coder of its own.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/feature/entropy.h"
#include "core/feature/feature_block.h"
#include "core/feature/pixel_residuals.h"
#include "core/image/decode.h"
#include "core/view/view.h"
#include "tests/benchmarks/support.h"

namespace afterimage {
namespace {

using benchmarks::Require;

constexpr uint32_t kViewsPerPicture = 4;
constexpr int kRounds = 15;
constexpr double kVisible = 0.3;

std::vector<View> MakeViews(const std::vector<std::string>& files) {
  std::vector<View> views;
  const ViewSpec spec;
  for (const std::string& file : files) {
    std::ifstream stream(file, std::ios::binary);
    const std::string encoded(std::istreambuf_iterator<char>(stream), {});
    const RgbImage image = Require(DecodeImage(AsBytes(encoded)));
    const ImageKey key = ImageKey::OfEncodedImage(AsBytes(encoded));
    for (uint32_t seed = 0; seed < kViewsPerPicture; ++seed) {
      views.push_back(
          Require(MakeView(image, spec, DrawViewGeometry(key, spec, seed, image.width, image.height))));
    }
  }
  return views;
}

// Nothing but pixels; with a mask of three patches in ten.
FeatureRecord RecordOf(const View& view, uint32_t grid, bool visible, std::mt19937& random) {
  FeatureRecord record;
  record.view_size = view.pixels.width;
  record.grid = grid;
  const size_t num_patches = size_t{grid} * grid;
  record.importance.assign(num_patches, 1.0f);
  for (size_t token = 0; token <= num_patches; ++token) record.tokens.push_back(static_cast<uint16_t>(token));
  record.pixels = ToPatchMajor(view.pixels, grid);
  if (!visible) return record;
  std::vector<uint16_t> mask(num_patches);
  std::iota(mask.begin(), mask.end(), uint16_t{0});
  std::shuffle(mask.begin(), mask.end(), random);
  mask.resize(static_cast<size_t>(kVisible * static_cast<double>(num_patches)));
  return KeepVisible(record, {mask});
}

// `work` and memcpy of what it gives, in turn; rates are of raw bytes.
void Compare(const char* what, double bytes, const std::function<void()>& work) {
  std::vector<uint8_t> from(static_cast<size_t>(bytes), 1), to(from.size());
  std::vector<double> of_work, of_copy;
  for (int i = 0; i <= kRounds; ++i) {
    const benchmarks::Stopwatch copying;
    std::memcpy(to.data(), from.data(), to.size());
    const double copied = copying.Elapsed().wall;
    const benchmarks::Stopwatch working;
    work();
    if (i == 0) continue;  // the first is to warm up
    of_copy.push_back(copied);
    of_work.push_back(working.Elapsed().wall);
  }
  const benchmarks::PairedResult result = benchmarks::ComparePaired(of_copy, of_work);
  std::printf("    %-28s %6.2f GB/s, %.3f of memcpy's rate (%.3f to %.3f)\n", what,
              bytes / benchmarks::Median(of_work) / 1e9, result.median_ratio, result.low, result.high);
}

void Run(const std::vector<View>& views, uint32_t grid, bool visible) {
  std::mt19937 random(1);
  std::vector<FeatureRecord> records;
  for (const View& view : views) records.push_back(RecordOf(view, grid, visible, random));
  double raw = 0, packed = 0;
  std::vector<double> ratios;
  std::vector<std::string> encoded;
  std::vector<FeatureBlock> blocks;
  for (const FeatureRecord& record : records)
    encoded.push_back(Require(EncodeFeatureBlock(record, Codec::kF16, nullptr, PixelCoding::kPacked)));
  for (size_t i = 0; i < records.size(); ++i) {
    blocks.push_back(Require(FeatureBlock::Parse(AsBytes(encoded[i]))));
    raw += static_cast<double>(records[i].pixels.size());
    packed += static_cast<double>(blocks.back().PixelBytes());
    ratios.push_back(static_cast<double>(blocks.back().PixelBytes()) /
                     static_cast<double>(records[i].pixels.size()));
    std::vector<uint8_t> back(records[i].pixels.size());
    Require(blocks.back().ReadPixels({}, back));
    if (back != records[i].pixels) std::abort();
  }
  std::ranges::sort(ratios);
  std::printf("  grid %u, %s: %.3f of raw (view by view: median %.3f, worst %.3f)\n", grid,
              visible ? "visible" : "all", packed / raw, benchmarks::Median(ratios), ratios.back());
  std::vector<uint8_t> target(records.front().pixels.size());
  Compare("encode to a block", raw, [&] {
    for (const FeatureRecord& record : records)
      Require(EncodeFeatureBlock(record, Codec::kF16, nullptr, PixelCoding::kPacked).status());
  });
  Compare("read whole, verified", raw, [&] {
    for (const FeatureBlock& block : blocks) Require(block.ReadPixels({}, target));
  });
  if (visible) return;
  std::vector<uint16_t> rows;
  const size_t num_patches = size_t{grid} * grid;
  for (size_t patch = 0; patch < num_patches; ++patch) {
    if (patch * 3 % 10 < 3) rows.push_back(static_cast<uint16_t>(patch));
  }
  const size_t row_bytes = target.size() / num_patches;
  Compare("read by rows, verified", static_cast<double>(rows.size() * row_bytes * blocks.size()), [&] {
    for (const FeatureBlock& block : blocks)
      Require(block.ReadPixels(rows, {target.data(), rows.size() * row_bytes}));
  });
}

// The same residuals in Zstandard's frames.
void RunFrames(const std::vector<View>& views, uint32_t grid, const char* what, size_t rows_per_frame) {
  const PixelLayout layout{views.front().pixels.width / grid, PixelPredictor::kGradient,
                           PixelColours::kLessGreen};
  const size_t row_bytes = 3 * layout.area();
  std::vector<uint8_t> scratch(row_bytes + kPixelSlack), residuals(row_bytes + kPixelSlack);
  std::vector<std::vector<uint8_t>> frames;
  std::vector<size_t> sizes;
  double raw = 0, packed = 0;
  for (const View& view : views) {
    const std::vector<uint8_t> pixels = ToPatchMajor(view.pixels, grid);
    std::vector<uint8_t> plane;
    for (size_t at = 0; at < pixels.size(); at += row_bytes) {
      ToResiduals(layout, pixels.data() + at, scratch.data(), residuals.data());
      plane.insert(plane.end(), residuals.begin(),
                   residuals.begin() + static_cast<std::ptrdiff_t>(row_bytes));
    }
    for (size_t at = 0; at < plane.size(); at += rows_per_frame * row_bytes) {
      sizes.push_back(std::min(rows_per_frame * row_bytes, plane.size() - at));
      AppendHuffmanFrame(std::span(plane).subspan(at, sizes.back()), frames.emplace_back());
      packed +=
          static_cast<double>(frames.back().size() + (sizes.back() < plane.size() ? sizeof(uint16_t) : 0));
    }
    raw += static_cast<double>(plane.size());
  }
  std::printf("  grid %u, %s: %.3f of raw\n", grid, what, packed / raw);
  std::vector<uint8_t> target(*std::ranges::max_element(sizes));
  Compare("decode to residuals", raw, [&] {
    for (size_t i = 0; i < frames.size(); ++i)
      Require(ReadHuffmanFrame(frames[i], {target.data(), sizes[i]}));
  });
}

}  // namespace
}  // namespace afterimage

int main(int argc, char** argv) {
  using namespace afterimage;  // NOLINT: a program's main
  if (argc < 2) {
    std::fprintf(stderr, "usage: pixel_benchmark FILE…\n");
    return 1;
  }
  benchmarks::PrintMachine();
  const std::vector<View> views = MakeViews({argv + 1, argv + argc});
  std::printf("%zu views of %d pictures\n", views.size(), argc - 1);
  for (const uint32_t grid : {14u, 16u}) {
    Run(views, grid, false);
    Run(views, grid, true);
  }
  RunFrames(views, 14, "a Zstandard frame a record", 196);
  RunFrames(views, 14, "a Zstandard frame a patch", 1);
  RunFrames(views, 14, "a Zstandard frame for eight patches", 8);
  return 0;
}
