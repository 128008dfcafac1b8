#include "core/view/view_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::IsOkAndHolds;
using testing::StatusIs;

TEST(ViewSpecTest, GoldenCanonicalTexts) {
  EXPECT_THAT(CanonicalText(ViewSpec{}.ToCanonical()),
              IsOkAndHolds(
                  std::string(R"({"crop":"random_resized_crop","decode_version":1,"flip_probability":[1,2],)"
                              R"("generator_version":1,"max_area":[1,1],"max_aspect":[4,3],"min_area":[1,5],)"
                              R"("min_aspect":[3,4],"resize_version":1,"size":224,"version":1})")));
  ViewSpec evaluation;
  evaluation.crop = ViewSpec::Crop::kResizeCenterCrop;
  EXPECT_THAT(
      CanonicalText(evaluation.ToCanonical()),
      IsOkAndHolds(std::string(R"({"crop":"resize_center_crop","decode_version":1,"resize_shorter":256,)"
                               R"("resize_version":1,"size":224,"version":1})")));
}

TEST(ViewSpecTest, ComesBackFromItsCanonicalForm) {
  ViewSpec training;
  training.size = 28;
  training.min_area = {9, 10};
  training.flip_probability = {0, 1};
  EXPECT_THAT(ViewSpec::FromCanonical(training.ToCanonical()), IsOkAndHolds(training));
  ViewSpec evaluation;
  evaluation.crop = ViewSpec::Crop::kResizeCenterCrop;
  evaluation.size = 196;
  evaluation.resize_shorter = 224;
  EXPECT_THAT(ViewSpec::FromCanonical(evaluation.ToCanonical()), IsOkAndHolds(evaluation));
}

TEST(ViewSpecTest, EqualRatiosAreOneIdentity) {
  ViewSpec spec;
  spec.min_area = {20, 100};
  spec.flip_probability = {5, 10};
  EXPECT_EQ(spec.ToCanonical(), ViewSpec{}.ToCanonical());
}

TEST(ViewSpecTest, FieldsWithoutEffectAreNotInTheIdentity) {
  ViewSpec spec;
  spec.resize_shorter = 300;
  EXPECT_EQ(spec.ToCanonical(), ViewSpec{}.ToCanonical());
}

TEST(ViewSpecTest, RefusesUnknownMissingAndBadFields) {
  Json json = ViewSpec{}.ToCanonical();
  json["colour_jitter"] = 1;
  EXPECT_THAT(ViewSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("colour_jitter")));
  json = ViewSpec{}.ToCanonical();
  json.erase("min_area");
  EXPECT_THAT(ViewSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("min_area")));
  json = ViewSpec{}.ToCanonical();
  json["max_aspect"] = Json::array({8, 6});
  EXPECT_THAT(ViewSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("max_aspect"), HasSubstr("lowest terms"))));
  json["max_aspect"] = Json::array({-4, 3});
  EXPECT_THAT(ViewSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_aspect")));
  json = ViewSpec{}.ToCanonical();
  json["size"] = 0;
  EXPECT_THAT(ViewSpec::FromCanonical(json), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size")));
  json = ViewSpec{}.ToCanonical();
  json["crop"] = "five_crop";
  EXPECT_THAT(ViewSpec::FromCanonical(json),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("five_crop")));
}

TEST(ViewSpecTest, RefusesOtherVersionsEvenWithKeysOfTheirs) {
  for (const char* key : {"version", "decode_version", "resize_version", "generator_version"}) {
    Json json = ViewSpec{}.ToCanonical();
    json[key] = 2;
    json["new_key"] = 1;
    EXPECT_THAT(ViewSpec::FromCanonical(json),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr(key), HasSubstr("2"), HasSubstr("1"))));
  }
}

TEST(ViewSpecTest, ValidateNamesTheField) {
  EXPECT_THAT(ViewSpec{}.Validate(), IsOk());
  const auto refused = [](auto change, const char* field) {
    ViewSpec spec;
    change(spec);
    EXPECT_THAT(spec.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  refused([](ViewSpec& s) { s.size = 0; }, "size");
  refused([](ViewSpec& s) { s.min_area = {0, 1}; }, "min_area");
  refused([](ViewSpec& s) { s.max_area = {3, 2}; }, "max_area");
  refused([](ViewSpec& s) { s.max_area = {1, 10}; }, "min_area");
  refused([](ViewSpec& s) { s.min_aspect = {2, 1}; }, "min_aspect");
  refused([](ViewSpec& s) { s.max_aspect = {1, 0}; }, "max_aspect");
  refused([](ViewSpec& s) { s.max_aspect = {1025, 1}; }, "max_aspect");
  refused([](ViewSpec& s) { s.flip_probability = {3, 2}; }, "flip_probability");
  refused([](ViewSpec& s) { s.flip_probability = {0, 0}; }, "flip_probability");
  refused(
      [](ViewSpec& s) {
        s.crop = ViewSpec::Crop::kResizeCenterCrop;
        s.resize_shorter = 200;
      },
      "resize_shorter");
}

}  // namespace
}  // namespace afterimage
