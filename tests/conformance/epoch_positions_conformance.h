// What every EpochSource does with explicit positions. Included beside epoch_source_conformance.h where that
// is instantiated.
#pragma once

#include <cstdint>
#include <vector>

#include "core/order/epoch_positions.h"
#include "tests/conformance/epoch_source_conformance.h"

namespace afterimage::testing {

TEST_P(EpochSourceConformance, ExplicitPositionsAreFramesOfTheWholeEpochAndNoOthers) {
  Fill(MakeSyntheticDescription());
  for (const OrderSpec::Tail tail : {OrderSpec::Tail::kDrop, OrderSpec::Tail::kPad}) {
    EpochRequest request = Request(tail);
    request.epoch = 1;
    const std::vector<EpochFrame> whole = ReadAll(request);
    const uint64_t end = whole.size();
    for (const std::vector<PositionRange>& positions :
         {std::vector<PositionRange>{{0, 1}}, {{end - 1, end}}, {{0, end}}, {{3, 5}, {5, 6}, {9, 15}}}) {
      request.positions = positions;
      const std::vector<EpochFrame> frames = ReadAll(request);
      std::vector<uint64_t> wanted;
      for (const PositionRange& range : positions) {
        for (uint64_t position = range.begin; position < range.end; ++position) wanted.push_back(position);
      }
      ASSERT_EQ(frames.size(), wanted.size());
      for (size_t i = 0; i < frames.size(); ++i) {
        const EpochFrame& other = whole[wanted[i]];
        EXPECT_EQ(frames[i].position, wanted[i]);
        EXPECT_EQ(frames[i].step, other.step);
        EXPECT_EQ(frames[i].occurrence, other.occurrence);
        EXPECT_EQ(frames[i].padding, other.padding);
        EXPECT_EQ(SumOf(frames[i]), SumOf(other));
        EXPECT_EQ(Bytes(frames[i]), Bytes(other));
      }
    }
  }
}

TEST_P(EpochSourceConformance, TheRestOfARequestIsWhatWasNotReadOfIt) {
  Fill(MakeSyntheticDescription());
  EpochRequest slice = Request();
  slice.slice = {1, 3};
  slice.step_end = 2;
  EpochRequest explicit_ones = Request();
  explicit_ones.positions = {{1, 4}, {7, 9}, {15, 16}};
  for (const EpochRequest& request : {slice, explicit_ones}) {
    const std::vector<EpochFrame> whole = ReadAll(request);
    ASSERT_GE(whole.size(), 4u);
    for (size_t begin = 0; begin < whole.size(); ++begin) {
      const std::vector<EpochFrame> rest = ReadAll(RestOfRequest(request, whole[begin].position));
      ASSERT_EQ(rest.size(), whole.size() - begin);
      for (size_t i = 0; i < rest.size(); ++i) EXPECT_EQ(SumOf(rest[i]), SumOf(whole[begin + i]));
    }
  }
}

TEST_P(EpochSourceConformance, RefusesPositionsThatMakeNoSense) {
  Fill(MakeSyntheticDescription());
  const auto expect_refused = [&](const std::function<void(EpochRequest&)>& change, const std::string& text) {
    EpochRequest request = Request();
    request.positions = {{2, 4}};
    change(request);
    EXPECT_THAT(source_->Open(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr(text)));
  };
  expect_refused(
      [](EpochRequest& request) {
        request.positions = {{2, 17}};
      },
      "positions 2..17 are out of range: the epoch has 16 positions");
  expect_refused(
      [](EpochRequest& request) {
        request.positions = {{4, 4}};
      },
      "the end must be above the begin");
  expect_refused(
      [](EpochRequest& request) {
        request.positions = {{9, 5}};
      },
      "the end must be above the begin");
  expect_refused([](EpochRequest& request) { request.positions = {{5, 9}, {2, 3}}; }, "they must ascend");
  expect_refused([](EpochRequest& request) { request.positions = {{5, 9}, {8, 10}}; }, "none twice");
  expect_refused([](EpochRequest& request) { request.step_end = 1; }, "a range of steps");
  expect_refused([](EpochRequest& request) { request.step_begin = 1; }, "a range of steps");
  expect_refused([](EpochRequest& request) { request.global_batch = 0; }, "global batch is 0");
  EXPECT_EQ(catalog_.observer().num_reads, 0u);
}

}  // namespace afterimage::testing
