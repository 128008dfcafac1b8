#include "core/identity/canonical_spec.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

Json GoldenSpec() {
  Json spec;
  spec["ratio"] = {3, 4};
  spec["eps"] = "1e-05";
  spec["b"] = Json::array({1, Json{{"z", true}, {"a", "\u00e9\u4e2d\"\\\n\U0001f600"}}});
  spec["a"] = -5;
  return spec;
}

// By tests/golden/feature_formats.py (Python's json and hashlib).
constexpr char kGoldenText[] =
    R"({"a":-5,"b":[1,{"a":"\u00e9\u4e2d\"\\\n\ud83d\ude00","z":true}],"eps":"1e-05","ratio":[3,4]})";
constexpr char kGoldenDigest[] = "89d3876764135d8ba82004d2a2247fcee2f9ad1ea9b69613f5aa1a93b93e2a3e";

TEST(CanonicalSpecTest, TextAndDigestAreFrozen) {
  EXPECT_THAT(CanonicalText(GoldenSpec()), IsOkAndHolds(std::string(kGoldenText)));
  EXPECT_EQ(CanonicalDigest(GoldenSpec()).Hex(), kGoldenDigest);
}

TEST(CanonicalSpecTest, ParseGivesBackWhatWasWritten) {
  EXPECT_THAT(ParseCanonical(kGoldenText), IsOkAndHolds(GoldenSpec()));
}

TEST(CanonicalSpecTest, RefusesWhatHasNoSingleText) {
  EXPECT_THAT(CanonicalText(Json{{"view", {{"ratio", 0.75}}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("view.ratio"), HasSubstr("floating-point"))));
  EXPECT_THAT(CanonicalText(Json{{"list", {1, nullptr}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("list[1]"), HasSubstr("null"))));
  EXPECT_THAT(CanonicalText(Json{{"name", "\xff"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
  EXPECT_THAT(CanonicalText(Json()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("null")));
}

TEST(CanonicalSpecTest, RefusesHostileDepth) {
  const std::string deep(100000, '[');
  EXPECT_THAT(ParseCanonical(deep), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not JSON")));
  const std::string closed = std::string(1000, '[') + std::string(1000, ']');
  EXPECT_THAT(ParseCanonical(closed), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("deep")));
}

TEST(CanonicalSpecTest, ParseRefusesEveryOtherSpelling) {
  for (const char* text :
       {R"({"b":1,"a":2})", R"({"a": 1})", "{\"a\":1}\n", R"({"a":1,"a":2})", R"({"a":"\u0041"})",
        "{\"a\":\"\u00e9\"}", R"({"a":"\/"})", R"({"a":-0})", R"({"a":01})"}) {
    EXPECT_THAT(ParseCanonical(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(ParseCanonical(R"({"a":1.5})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("floating-point")));
  EXPECT_THAT(ParseCanonical(R"({"b":1,"a":2})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from byte 2 on")));
}

TEST(CanonicalSpecTest, DecimalsAreShortestAndRoundTrip) {
  EXPECT_EQ(DecimalText(1e-5), "1e-05");
  EXPECT_EQ(DecimalText(0.485), "0.485");
  EXPECT_EQ(DecimalText(1.0), "1");
  EXPECT_EQ(DecimalText(-0.1), "-0.1");
  EXPECT_EQ(DecimalText(1e300), "1e+300");
  for (const double value : {0.1, 1.0 / 3, 5e-324, std::numeric_limits<double>::max(), -123456.789}) {
    EXPECT_THAT(ParseDecimal(DecimalText(value)), IsOkAndHolds(value));
  }
}

TEST(CanonicalSpecTest, ParseDecimalRefusesOtherTexts) {
  for (const char* text : {"", " 1", "1 ", "+1", "1,5", "nan", "inf", "1e999", "0x10", "one"}) {
    EXPECT_THAT(ParseDecimal(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(CanonicalSpecDeathTest, ADecimalThatIsNotFiniteEndsTheProcess) {
  EXPECT_DEATH(DecimalText(std::nan("")), "not finite");
  EXPECT_DEATH(CanonicalDigest(Json{{"a", 0.5}}), "not canonical");
}

TEST(CanonicalSpecTest, FieldsAreTyped) {
  const Json object = {{"n", 7}, {"t", "text"}, {"big", 0xffffffffffffffffu}};
  EXPECT_THAT(IntegerField(object, "n"), IsOkAndHolds(7));
  EXPECT_THAT(TextField(object, "t"), IsOkAndHolds(std::string("text")));
  EXPECT_THAT(IntegerField(object, "t"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"t\" is not")));
  EXPECT_THAT(IntegerField(object, "big"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("64-bit")));
  EXPECT_THAT(TextField(object, "n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"n\" is not")));
  EXPECT_THAT(IntegerField(object, "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"x\" is missing")));
  EXPECT_THAT(TextField(object, "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"x\" is missing")));
}

TEST(CanonicalSpecTest, UnknownKeysAreNamed) {
  EXPECT_THAT(RefuseUnknownKeys(Json{{"a", 1}}, {"a", "b"}), IsOk());
  EXPECT_THAT(RefuseUnknownKeys(Json{{"a", 1}, {"c", 1}}, {"a", "b"}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("\"c\""), HasSubstr("a, b"))));
  EXPECT_THAT(RefuseUnknownKeys(Json::array(), {"a"}), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace afterimage
