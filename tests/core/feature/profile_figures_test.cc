#include "core/feature/profile_figures.h"

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>

#include "core/base/digest.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

ProfileFigures Figures() {
  return {.num_records = 32,
          .rows = {{Codec::kF32, 1, 4, 0, 0, 1},
                   {Codec::kI8x, 1, 1.001, 0.0098, 0.05, 0.9999},
                   {Codec::kI8x, 2, 1.001, 0.0097, 0.05, 0.9999}}};
}

// Makes the checksum of changed bytes right again.
std::string Resealed(std::string bytes) {
  bytes.resize(bytes.size() - 8);
  AppendLittleEndian<uint64_t>(Xxh3_64(AsBytes(bytes)), bytes);
  return bytes;
}

TEST(ProfileFiguresTest, ComeBackAsTheyWere) {
  EXPECT_THAT(CheckFigures(Figures()), IsOk());
  const std::string bytes = SerializeFigures(Figures());
  EXPECT_EQ(bytes.size(), 24u + 3 * 40 + 8);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ProfileFigures read, ParseFigures(AsBytes(bytes)));
  EXPECT_EQ(read, Figures());
  EXPECT_EQ(SerializeFigures({}), "");
  EXPECT_THAT(CheckFigures({}), IsOk());
}

TEST(ProfileFiguresTest, WhatIsNoFigureIsRefusedAlsoUnderARightChecksum) {
  const std::pair<std::function<void(ProfileFigures&)>, const char*> bad[] = {
      {[](ProfileFigures& f) { f.num_records = 0; }, "3 rows of 0 records"},
      {[](ProfileFigures& f) { f.rows[1].codec = static_cast<Codec>(99); }, "unknown codec 99"},
      {[](ProfileFigures& f) { f.rows[2].level = 1; }, "row 2 is out of order"},
      {[](ProfileFigures& f) { std::swap(f.rows[0], f.rows[1]); }, "row 1 is out of order"},
      {[](ProfileFigures& f) { f.rows[1].rmse = std::numeric_limits<double>::quiet_NaN(); }, "RMSE nan"},
      {[](ProfileFigures& f) { f.rows[1].largest_error = -1; }, "largest error -1"},
      {[](ProfileFigures& f) { f.rows[1].bytes_per_value = std::numeric_limits<double>::infinity(); },
       "inf bytes"},
      {[](ProfileFigures& f) { f.rows[2].worst_cosine = 1.5; }, "level 2: 1.001 bytes"},
  };
  for (const auto& [spoil, message] : bad) {
    ProfileFigures figures = Figures();
    spoil(figures);
    EXPECT_THAT(CheckFigures(figures), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
    EXPECT_THAT(ParseFigures(AsBytes(SerializeFigures(figures))),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr(message)));
  }
}

TEST(ProfileFiguresTest, LengthsThatLieAreRefusedBeforeAnythingIsAllocated) {
  const std::string good = SerializeFigures(Figures());
  for (const uint32_t num_rows : {0u, 2u, 4u, 0xffffffffu}) {
    std::string bytes = good;
    std::memcpy(bytes.data() + 8, &num_rows, sizeof(num_rows));
    EXPECT_THAT(ParseFigures(AsBytes(Resealed(bytes))),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("do not hold exactly")));
  }
  for (const size_t zero_at : {12u, 25u}) {  // of the head, of a row
    std::string bytes = good;
    bytes[zero_at] = 1;
    EXPECT_THAT(ParseFigures(AsBytes(Resealed(bytes))), StatusIs(absl::StatusCode::kDataLoss));
  }
}

}  // namespace
}  // namespace afterimage
