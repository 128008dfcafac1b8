// Whatever bytes come: FeatureBlock refuses them or reads them, and never reads beyond them.
//
// Built with -fsanitize=fuzzer this is a libFuzzer target; linked with replay_main.cc it is a fast test.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "core/feature/coded_batch.h"
#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "core/feature/scale_tables.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

SetDescription DescribeFuzzSet(TokenPolicy policy, Codec codec) {
  return testing::MakeSyntheticDescription({.width = 30,
                                            .grid = 2,
                                            .view_size = 4,
                                            .token_policy = policy,
                                            .mask = {.num_visible = 2, .num_masks = 2},
                                            .codec = codec});
}

FeatureProfile FuzzProfile() {
  return testing::MakeSyntheticProfile(DescribeFuzzSet(TokenPolicy::kAll, Codec::kI8x));
}

// Coded rows are refused where values are, and else decode to the same bits.
void DecodeAsADevice(const FeatureBlock& block, uint32_t level, const FeatureProfile& profile) {
  const size_t count = size_t{block.num_tokens()} * block.width();
  if (count > size_t{1} << 20) return;
  std::vector<float> expected(count), decoded(count);
  const bool readable = block.ReadLevel(level, {}, expected).ok();
  std::vector<uint8_t> memory(CodedBatch::BytesFor(1, block.num_tokens(), block.width()));
  CodedBatch batch(memory, block.num_tokens(), block.width());
  if (batch.Put(0, block, level, {}).ok() != readable) std::abort();
  if (!readable) return;
  const ScaleTables tables =
      NeedsProfile(block.codec()) ? ScaleTables(*profile.FindCodes(level)) : ScaleTables();
  batch.Seal(1);
  DecodeRowsOnCpu(batch.View(memory.data(), tables.View(tables.bytes().data())), FloatType::kF32,
                  decoded.data());
  if (std::memcmp(expected.data(), decoded.data(), count * sizeof(float)) != 0) std::abort();
}

// Reads all that the block says it has. The result is not looked at; a value that was read may be anything.
void ReadEverything(const FeatureBlock& block, const PinnedBytes& bytes, const FeatureProfile& profile) {
  if (block.is_failure()) {
    block.failure_reason().IgnoreError();
    return;
  }
  const bool sound = block.VerifyAll().ok();
  const absl::Status decoded = block.ToRecord().status();
  // What is verified can be read, and nothing else; but for a profile of another digest, or a level that it
  // has not.
  const bool fits = !NeedsProfile(block.codec()) || !absl::IsFailedPrecondition(decoded);
  // Coded planes and packed pixels have a second chance to be wrong: when they are decoded.
  const bool coded = RowCodec(block.codec()) != block.codec() || block.has_packed_pixels();
  if (fits && (coded ? decoded.ok() && !sound : sound != decoded.ok())) std::abort();
  for (const uint32_t level : block.levels()) DecodeAsADevice(block, level, profile);
  std::vector<uint16_t> mask = {0};
  if (block.num_masks() > 0) mask = block.Mask(block.num_masks() - 1).value_or(mask);
  for (const Selection::Encoding encoding :
       {Selection::Encoding::kStored, Selection::Encoding::kF32, Selection::Encoding::kF16,
        Selection::Encoding::kBf16, Selection::Encoding::kI8x, Selection::Encoding::kI4x}) {
    const absl::StatusOr<PinnedBytes> part = SelectFromBlock(
        block, bytes,
        {.tokens = Selection::Tokens::kMask, .pixels = block.has_pixels(), .encoding = encoding}, mask);
    if (!part.ok()) continue;
    const absl::StatusOr<FeatureBlock> parsed = FeatureBlock::Parse(part->bytes, &profile);
    if (!parsed.ok() || !parsed->VerifyAll().ok()) std::abort();  // a part that we made ourselves
  }
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  std::vector<std::string> corpus = {EncodeFailedBlock("not an image")};
  const FeatureProfile profile = FuzzProfile();
  for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
    std::vector<Codec> codecs(std::begin(kAllCodecs), std::end(kAllCodecs));
    codecs.push_back(static_cast<Codec>(kFirstStepCodec + 33));  // a step of ezq without a name
    for (const Codec codec : codecs) {
      FeatureRecord record =
          testing::MakeSyntheticRecord(DescribeFuzzSet(policy, codec), {testing::SyntheticImageKey(1), 0});
      record.levels[0].values[7] = 200.0f;  // of i8x: an exception
      if (policy == TokenPolicy::kAll) {    // and too many
        for (size_t i = 0; i < 9; ++i) record.levels[1].values[5 * i] = 100.0f;
      }
      corpus.push_back(EncodeFeatureBlock(record, codec, &profile).value());
      const FeatureBlock block = FeatureBlock::Parse(AsBytes(corpus.back()), &profile).value();
      const PinnedBytes part = SelectFromBlock(block, {AsBytes(corpus.back()), nullptr},
                                               {.levels = {4}, .encoding = Selection::Encoding::kF32}, {})
                                   .value();
      corpus.emplace_back(part.bytes.begin(), part.bytes.end());
    }
    const SetDescription packed =
        testing::MakeSyntheticDescription({.levels = {4},
                                           .width = 2,
                                           .grid = 3,
                                           .view_size = 48,
                                           .token_policy = policy,
                                           .mask = {.num_visible = 4, .num_masks = 2},
                                           .pixel_coding = PixelCoding::kPacked});
    corpus.push_back(testing::MakeSyntheticBlock(packed, {testing::SyntheticImageKey(2), 0}));
  }
  return corpus;
}

void ResealForFuzzing(std::string& input) {
  if (input.size() < block::kHeaderBytes) return;
  const auto load = [&](size_t at) { return LoadLittleEndian<uint64_t>(AsBytes(input).data() + at); };
  const auto store = [&](size_t at, uint64_t value) {
    std::memcpy(input.data() + at, &value, sizeof(value));
  };
  const size_t num_sections = load(block::kNumSectionsAt) & 0xffffffff;
  if (num_sections > (input.size() - block::kHeaderBytes) / block::kEntryBytes) return;
  for (size_t i = 0; i < num_sections; ++i) {
    const size_t entry = block::kHeaderBytes + i * block::kEntryBytes;
    const uint64_t offset = load(entry + 16);
    const uint64_t length = load(entry + 24);
    if (offset <= input.size() && length <= input.size() - offset) {
      store(entry + 32, Xxh3_64(AsBytes(input).subspan(offset, length)));
    }
  }
  const ByteSpan head = AsBytes(input).first(block::kHeaderBytes + num_sections * block::kEntryBytes);
  const Digest128 digest = block::RecordDigestOf(head);
  store(block::kRecordDigestAt, digest.low);
  store(block::kRecordDigestAt + 8, digest.high);
  store(block::kHeaderChecksumAt, block::HeaderChecksumOf(head));
}

}  // namespace afterimage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const afterimage::PinnedBytes bytes = {{data, size}, nullptr};
  static const afterimage::FeatureProfile profile = afterimage::FuzzProfile();
  const absl::StatusOr<afterimage::FeatureBlock> block =
      afterimage::FeatureBlock::Parse(bytes.bytes, &profile);
  if (block.ok()) afterimage::ReadEverything(*block, bytes, profile);
  return 0;
}
