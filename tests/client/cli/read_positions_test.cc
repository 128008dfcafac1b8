#include "client/cli/read_positions.h"

#include <string>
#include <vector>

#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_reader.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

TEST(ParsePositionsTest, BothEndsAreIncluded) {
  EXPECT_THAT(ParsePositions("4-7"), testing::IsOkAndHolds(PositionRange{4, 8}));
  EXPECT_THAT(ParsePositions("9"), testing::IsOkAndHolds(PositionRange{9, 10}));
  for (const char* text :
       {"", "-", "4-", "-4", "7-4", "1-2-3", "x", "0x4", "18446744073709551615", "99999999999999999999"})
    EXPECT_THAT(ParsePositions(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--positions")))
        << text;
}

TEST(ReadPositionsTest, GivesTheRecordsOfAStepAsTheEpochHasThem) {
  InMemoryFeatureCatalog catalog;
  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(40);
  AFTERIMAGE_ASSERT_OK(catalog.CreateSet(description));
  AFTERIMAGE_ASSERT_OK(catalog.PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  catalog.OpenSet(description.set.Id(), OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 1));
  EpochReader source(&catalog, {});
  EpochRequest request;
  request.set_id = description.set.Id();
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = 40;
  request.order.mask.num_visible = 5;
  request.global_batch = 8;
  std::vector<EpochFrame> epoch;
  AFTERIMAGE_ASSERT_OK(
      ReadPositions(source, request, false, [&](const EpochFrame& frame) { epoch.push_back(frame); }));
  ASSERT_EQ(epoch.size(), 40);

  request.positions = {{16, 24}};  // step 2
  std::vector<EpochFrame> step;
  AFTERIMAGE_ASSERT_OK(
      ReadPositions(source, request, true, [&](const EpochFrame& frame) { step.push_back(frame); }));
  ASSERT_EQ(step.size(), 8);
  for (size_t i = 0; i < step.size(); ++i) {
    EXPECT_EQ(step[i].position, 16 + i);
    EXPECT_EQ(FrameText(step[i]), FrameText(epoch[16 + i]));
    EXPECT_EQ(FrameJson(step[i]), FrameJson(epoch[16 + i]));
  }
  EXPECT_THAT(FrameText(step[3]),
              AllOf(HasSubstr("position 19, step 2: record "), HasSubstr("OK, "), HasSubstr(" bytes")));
  EXPECT_EQ(FrameJson(step[3])["view_seed"], 0);
  request.positions = {{39, 41}};
  EXPECT_THAT(ReadPositions(source, request, false, [](const EpochFrame&) {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("41")));
}

}  // namespace
}  // namespace afterimage::cli
