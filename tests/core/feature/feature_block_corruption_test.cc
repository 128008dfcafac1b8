// What a block that is not what was written does: it is refused, and nothing else happens.
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/feature/feature_block.h"
#include "core/feature/feature_block_layout.h"
#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/core/feature/golden_record.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;
namespace golden = ::afterimage::testing::golden;

std::string Unhex(const char* hex) { return HexDecode(hex).value(); }

// Has every section kind but the reason.
std::string VisibleBlock() { return Unhex(golden::kBlockVisible); }

// Parse and read everything; the first error.
absl::Status ReadAll(const std::string& bytes) {
  const absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(AsBytes(bytes));
  if (!block.ok()) return block.status();
  if (block->is_failure()) return block->failure_reason().status();
  if (absl::Status status = block->VerifyAll(); !status.ok()) return status;
  return block->ToRecord().status();
}

TEST(FeatureBlockCorruptionTest, EveryTruncationIsFound) {
  for (const std::string& good : {Unhex(golden::kBlockF32), Unhex(golden::kBlockBf16), VisibleBlock(),
                                  Unhex(golden::kBlockPart), Unhex(golden::kBlockFailed)}) {
    ASSERT_TRUE(ReadAll(good).ok());
    for (size_t size = 0; size < good.size(); ++size) {
      // A copy of exactly this size, so that AddressSanitizer sees a read beyond it.
      const std::vector<uint8_t> cut(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_THAT(FeatureBlock::Parse(cut), StatusIs(absl::StatusCode::kDataLoss)) << size;
    }
    EXPECT_THAT(ReadAll(good + '\0'), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(FeatureBlockCorruptionTest, EveryFlippedBitIsFound) {
  for (const std::string& good : {Unhex(golden::kBlockF32), Unhex(golden::kBlockBf16), VisibleBlock(),
                                  Unhex(golden::kBlockPart), Unhex(golden::kBlockFailed)}) {
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
      // Unless it makes another one of the versions that there are.
      const bool version =
          bit / 8 >= block::kVersionAt && bit / 8 < block::kVersionAt + 4 &&
          LoadLittleEndian<uint32_t>(AsBytes(bad).data() + block::kVersionAt) - 1 >= kFeatureBlockVersion;
      EXPECT_THAT(ReadAll(bad),
                  StatusIs(version ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kDataLoss))
          << "byte " << bit / 8 << ", bit " << bit % 8;
    }
  }
}

TEST(FeatureBlockCorruptionTest, AnotherVersionIsToldWithBoth) {
  std::string bytes = Unhex(golden::kBlockF32);
  bytes[block::kVersionAt] = 7;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(bytes)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("format version 7, this program reads versions 1 to 5")));
}

TEST(FeatureBlockCorruptionTest, ADamagedSectionLeavesTheOthersReadable) {
  std::string bytes = Unhex(golden::kBlockF32);
  bytes[384] ^= 1;  // the first number of the plane
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const FeatureBlock block, FeatureBlock::Parse(AsBytes(bytes)));
  std::vector<float> values(15);
  EXPECT_THAT(block.ReadLevel(3, {}, values), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("level 3")));
  EXPECT_THAT(block.VerifyAll(), StatusIs(absl::StatusCode::kDataLoss));
  AFTERIMAGE_EXPECT_OK(block.Importance());
}

// Headers that lie, but whose checksums are right: what only a hostile or broken writer makes.
class Forger {
 public:
  explicit Forger(std::string bytes) : bytes_(std::move(bytes)) {}

  template <typename T>
  Forger& Set(size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof(value));
    return *this;
  }
  // Field of the section table: byte `field` of entry `section`.
  template <typename T>
  Forger& SetEntry(size_t section, size_t field, T value) {
    return Set(block::kHeaderBytes + section * block::kEntryBytes + field, value);
  }
  // A number of a section, with the section's checksum made right again.
  Forger& SetU16InSection(size_t section, size_t index, uint16_t value) {
    const uint8_t* const entry = AsBytes(bytes_).data() + block::kHeaderBytes + section * block::kEntryBytes;
    const uint64_t offset = LoadLittleEndian<uint64_t>(entry + 16);
    const uint64_t length = LoadLittleEndian<uint64_t>(entry + 24);
    Set(offset + index * 2, value);
    return SetEntry(section, 32, Xxh3_64(AsBytes(bytes_).subspan(offset, length)));
  }
  std::string Seal() {
    const size_t num_sections = LoadLittleEndian<uint32_t>(AsBytes(bytes_).data() + block::kNumSectionsAt);
    const size_t head = std::min(bytes_.size(), block::kHeaderBytes + num_sections * block::kEntryBytes);
    const Digest128 digest = block::RecordDigestOf(AsBytes(bytes_).first(head));
    Set(block::kRecordDigestAt, digest.low);
    Set(block::kRecordDigestAt + 8, digest.high);
    Set(block::kHeaderChecksumAt, block::HeaderChecksumOf(AsBytes(bytes_).first(head)));
    return bytes_;
  }

 private:
  std::string bytes_;
};

TEST(FeatureBlockCorruptionTest, TheForgerChangesNothingElse) {
  EXPECT_EQ(Forger(VisibleBlock()).Seal(), VisibleBlock());
}

TEST(FeatureBlockCorruptionTest, LyingHeadersAreRefused) {
  // Sections of VisibleBlock(): 0 importance, 1 tokens, 2 masks, 3 plane, 4 statistics, 5 pixels.
  const auto forge = [] { return Forger(VisibleBlock()); };
  struct Lie {
    std::string bytes;
    const char* message;
  };
  const Lie lies[] = {
      {forge().Set<uint32_t>(block::kHeaderBytesAt, 152).Seal(), "a header of 152 bytes"},
      {forge().Set<uint64_t>(block::kTotalBytesAt, ~uint64_t{0}).Seal(), "the header says"},
      {forge().Set<uint32_t>(block::kNumSectionsAt, 0xffffffff).Seal(), "sections do not fit"},
      {forge().Set<uint32_t>(block::kNumSectionsAt, 5).Seal(), "padding before section 0"},
      {forge().Set<uint8_t>(block::kKindAt, 3).Seal(), "unknown kind"},
      {forge().Set<uint8_t>(block::kFlagsAt, 8).Seal(), "unknown flags"},
      {forge().Set<uint8_t>(block::kFlagsAt, 4).Seal(), "unknown flags"},  // mask order, but no part
      {forge().Set<uint8_t>(block::kCodecAt, 0).Seal(), "unknown codec"},
      {forge().Set<uint32_t>(block::kVersionAt, 2).Set<uint8_t>(block::kCodecAt, 99).Seal(), "unknown codec"},
      {forge().Set<uint8_t>(block::kCodecAt, 1).Seal(), "does not fit the header"},
      {forge().Set<uint8_t>(block::kCodecAt, 3).Seal(), "codec 3 in format version 1"},
      {forge().Set<uint32_t>(block::kVersionAt, 2).Seal(), "codec 2 in format version 2"},
      {forge().Set<uint8_t>(block::kCodecAt + 1, 1).Seal(), "reserved"},
      {forge().Set<uint32_t>(block::kWidthAt + 4, 1).Seal(), "reserved"},
      {forge().Set<uint32_t>(block::kGridAt, 0).Seal(), "a grid of 0"},
      {forge().Set<uint32_t>(block::kGridAt, 0x10000).Seal(), "a grid of 65536"},
      {forge().Set<uint32_t>(block::kGridAt, 3).Seal(), "does not fit the header"},
      {forge().Set<uint32_t>(block::kViewSizeAt, 0).Seal(), "a view of 0"},
      {forge().Set<uint32_t>(block::kViewSizeAt, 5).Seal(), "does not fit the header"},
      {forge().Set<uint32_t>(block::kNumTokensAt, 0).Seal(), "0 tokens"},
      {forge().Set<uint32_t>(block::kNumTokensAt, 6).Seal(), "6 tokens"},
      {forge().Set<uint32_t>(block::kNumTokensAt, 3).Seal(), "does not fit the header"},
      {forge().Set<uint32_t>(block::kNumMasksAt, 0x10000).Seal(), "65536 masks"},
      {forge().Set<uint32_t>(block::kNumMasksAt, 0).Seal(), "does not fit the header"},
      {forge().Set<uint32_t>(block::kWidthAt, 4).Seal(), "does not fit the header"},
      {forge().Set<uint32_t>(block::kWidthAt, 0).Seal(), "does not fit the header"},
      {forge().SetEntry<uint16_t>(0, 0, 0).Seal(), "unknown kind 0"},
      {forge().SetEntry<uint16_t>(5, 0, 9).Seal(), "unknown kind 9"},
      {forge().SetEntry<uint16_t>(5, 0, 8).Seal(), "does not fit the header"},  // exceptions of no level
      {forge().SetEntry<uint16_t>(1, 0, 1).Seal(), "out of order"},
      {forge().SetEntry<uint16_t>(5, 0, 7).Seal(), "does not fit the header"},  // a reason in a record
      {forge().SetEntry<uint16_t>(0, 2, 1).Seal(), "does not fit the header"},  // importance of a level
      {forge().SetEntry<uint16_t>(3, 2, 0).Seal(), "does not fit the header"},  // a plane of none
      {forge().SetEntry<uint16_t>(4, 2, 2).Seal(), "does not fit the header"},  // statistics of another level
      {forge().SetEntry<uint8_t>(0, 4, 0).Seal(), "does not fit"},
      {forge().SetEntry<uint8_t>(0, 5, 1).Seal(), "reserved"},
      {forge().SetEntry<uint32_t>(3, 8, 0x10000).Seal(), "section 3 of 65536 x"},
      {forge().SetEntry<uint32_t>(3, 12, 0xffffffff).Seal(), "section 3 of"},
      {forge().SetEntry<uint64_t>(3, 16, ~uint64_t{63}).Seal(), "section 3 of"},
      {forge().SetEntry<uint64_t>(3, 24, ~uint64_t{0}).Seal(), "section 3 of"},
      {forge().SetEntry<uint32_t>(5, 8, 0xffff).Seal(), "section 5 of"},
  };
  for (const Lie& lie : lies) {
    EXPECT_THAT(FeatureBlock::Parse(AsBytes(lie.bytes)),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(lie.message)))
        << lie.message;
  }
}

TEST(FeatureBlockCorruptionTest, TokensAndMasksThatLieAreRefused) {
  const auto forge = [] { return Forger(VisibleBlock()); };  // tokens 0 1 3 4, masks 3 0 / 2 3
  struct Lie {
    std::string bytes;
    const char* message;
  };
  const Lie lies[] = {
      {forge().SetU16InSection(1, 0, 1).Seal(), "token 0 is 1"},
      {forge().SetU16InSection(1, 2, 1).Seal(), "token 2 is 1"},
      {forge().SetU16InSection(1, 3, 5).Seal(), "token 3 is 5"},
      {forge().SetU16InSection(1, 1, 2).Seal(), "patch 0 of mask 0 is not stored"},
      {forge().SetU16InSection(2, 0, 4).Seal(), "mask 0 holds patch 4"},
      {forge().SetU16InSection(2, 1, 3).Seal(), "mask 0 holds patch 3"},
      {forge().SetU16InSection(2, 2, 1).Seal(), "patch 1 of mask 1 is not stored"},
  };
  for (const Lie& lie : lies) {
    EXPECT_THAT(ReadAll(lie.bytes), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(lie.message)))
        << lie.message;
  }
}

TEST(FeatureBlockCorruptionTest, MissingSectionsAreRefused) {
  block::Header header;
  header.codec = 1;
  header.view_size = 4;
  header.grid = 2;
  header.num_tokens = 5;
  header.width = 3;
  const auto sealed = [&](const std::function<void(block::Writer&)>& declare, const block::Header& with) {
    block::Writer writer;
    declare(writer);
    writer.Allocate();
    return writer.Seal(with, nullptr);
  };
  using block::ElementType;
  using block::SectionKind;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed([](block::Writer&) {}, header))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no importance")));
  const auto importance = [](block::Writer& w) {
    w.Declare(SectionKind::kImportance, 0, ElementType::kF32, 1, 4);
  };
  const std::string bare = sealed(importance, header);
  AFTERIMAGE_EXPECT_OK(FeatureBlock::Parse(AsBytes(bare)));
  block::Header fewer = header;
  fewer.num_tokens = 3;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed(importance, fewer))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no token list")));
  block::Header masked = header;
  masked.num_masks = 1;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed(importance, masked))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no masks")));
  const auto plane_only = [&](block::Writer& w) {
    importance(w);
    w.Declare(SectionKind::kPlane, 3, ElementType::kF32, 5, 3);
  };
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed(plane_only, header))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("without its statistics")));
  block::Header failure;
  failure.kind = block::BlockKind::kFailure;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed([](block::Writer&) {}, failure))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("without its reason")));
  failure.grid = 2;
  EXPECT_THAT(FeatureBlock::Parse(AsBytes(sealed([](block::Writer&) {}, failure))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("fields of a record")));
}

}  // namespace
}  // namespace afterimage
