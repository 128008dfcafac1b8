// unit_ledger.h and unit_writer.h: what every implementation shares.
#include "core/feature/unit_ledger.h"

#include <string>
#include <vector>

#include "core/feature/unit_writer.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Texts(const std::vector<UnitId>& units) {
  std::vector<std::string> texts;
  for (const UnitId& unit : units) texts.push_back(unit.ToString().substr(16));
  return texts;
}

TEST(UnitTest, AUnitsTextIsAFileName) {
  UnitId unit;
  unit.manifest.bytes[0] = 0xab;
  unit.shard = 3;
  unit.seed_begin = 4;
  unit.seed_end = 8;
  EXPECT_EQ(unit.ToString(), "ab00000000000000-s3-v4-8");
}

TEST(UnitTest, UnitsAreAlignedAndTheLastOneEndsAtK) {
  const UnitLayout layout = {.num_shards = 2, .seeds_per_unit = 2};
  EXPECT_THAT(Texts(UnitsOf(layout, {}, 3, false)),
              ElementsAre("-s0-v0-2", "-s0-v2-3", "-s1-v0-2", "-s1-v2-3"));
  EXPECT_THAT(Texts(UnitsOf(layout, {}, 3, true)),
              ElementsAre("-s0-v0-2", "-s1-v0-2", "-s0-v2-3", "-s1-v2-3"));
  EXPECT_THAT(Texts(UnitsOf(layout, {}, 1, false)), ElementsAre("-s0-v0-1", "-s1-v0-1"));
}

TEST(UnitTest, MetadataRoundTrips) {
  UnitMetadata metadata;
  metadata.worker = "host:123";
  metadata.device = "cpu: AMD EPYC\xff";  // a byte that is no UTF-8
  metadata.library_versions = "torch 2.11.0";
  metadata.num_threads = 2;
  metadata.micro_batch = 64;
  metadata.num_records = uint64_t{1} << 40;
  metadata.num_failed = 3;
  const std::string text = metadata.Serialize();
  EXPECT_EQ(text,
            R"({"device":"cpu: AMD EPYC?","library_versions":"torch 2.11.0","micro_batch":64,"num_failed":3,)"
            R"("num_records":1099511627776,"num_threads":2,"version":1,"worker":"host:123"})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const UnitMetadata parsed, UnitMetadata::Parse(text));
  EXPECT_EQ(parsed.Serialize(), text);
}

TEST(UnitTest, MetadataOfOtherTextsIsRefused) {
  EXPECT_THAT(UnitMetadata::Parse("{}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unit metadata")));
  std::string text = UnitMetadata().Serialize();
  text.replace(text.find("\"version\":1"), 11, "\"version\":2");
  EXPECT_THAT(UnitMetadata::Parse(text),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 2")));
  text = UnitMetadata().Serialize();
  text.replace(text.find("\"num_threads\":0"), 15, "\"num_threads\":-1");
  EXPECT_THAT(UnitMetadata::Parse(text),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("num_threads")));
}

}  // namespace
}  // namespace afterimage
