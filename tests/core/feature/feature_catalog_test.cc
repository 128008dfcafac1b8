// feature_catalog.h: finding sets and manifests by what people type.
#include "core/feature/feature_catalog.h"

#include <string>

#include "core/feature/in_memory_cache.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage {
namespace {

using ::afterimage::testing::FillSet;
using ::afterimage::testing::IsOk;
using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::MakeSyntheticDescription;
using ::afterimage::testing::MakeSyntheticManifest;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ResolveTest : public ::testing::Test {
 protected:
  // A set that holds these two manifests.
  void Fill(const SetDescription& description) {
    AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(description));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    catalog_.OpenSet(description.set.Id(), OpenMode::kContribute));
    for (const Manifest& manifest : {one_, two_}) {
      AFTERIMAGE_ASSERT_OK(catalog_.PutManifest(manifest));
      AFTERIMAGE_ASSERT_OK(FillSet(set, manifest.digest(), 1));
    }
  }

  InMemoryFeatureCatalog catalog_;
  const SetDescription first_ = MakeSyntheticDescription();
  const SetDescription second_ = MakeSyntheticDescription({.codec = Codec::kF32});
  const Manifest one_ = MakeSyntheticManifest(2);
  const Manifest two_ = MakeSyntheticManifest(3);
};

TEST_F(ResolveTest, AnEmptyCacheHasNoSet) {
  EXPECT_THAT(ResolveSet(catalog_, ""),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there is no set yet")));
}

TEST_F(ResolveTest, TheOnlySetNeedsNoName) {
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(first_));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary found, ResolveSet(catalog_, ""));
  EXPECT_EQ(found.id, first_.set.Id());
}

TEST_F(ResolveTest, SeveralSetsAreListedWhenNoneIsNamed) {
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(first_));
  AFTERIMAGE_ASSERT_OK(catalog_.CreateSet(second_));
  AFTERIMAGE_ASSERT_OK(catalog_.SetName("exact", second_.set.Id(), false));
  EXPECT_THAT(ResolveSet(catalog_, ""),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("--set"), HasSubstr(first_.set.Id().Hex()), HasSubstr("exact"))));
  for (const std::string& text :
       {std::string("exact"), second_.set.Id().Hex(), second_.set.Id().Hex().substr(0, 8)}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary found, ResolveSet(catalog_, text));
    EXPECT_EQ(found.id, second_.set.Id());
  }
  EXPECT_THAT(ResolveSet(catalog_, second_.set.Id().Hex().substr(0, 7)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(ResolveSet(catalog_, "other"),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("\"other\""), HasSubstr("exact"))));
}

TEST_F(ResolveTest, ManifestsAreThoseOfTheSet) {
  Fill(first_);
  AFTERIMAGE_ASSERT_OK(catalog_.SetName("train", two_.digest(), false));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary set, ResolveSet(catalog_, ""));
  EXPECT_THAT(ResolveManifest(catalog_, set, ""),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("--manifest"), HasSubstr("train"), HasSubstr(one_.digest().Hex()))));
  EXPECT_THAT(ResolveManifest(catalog_, set, "train"), IsOkAndHolds(two_.digest()));
  EXPECT_THAT(ResolveManifest(catalog_, set, one_.digest().Hex().substr(0, 10)), IsOkAndHolds(one_.digest()));
}

TEST(ValidateNameTest, NamesAreFileNames) {
  for (const char* good : {"a", "clip-b16-top5", "0.1_x", "imagenet-train"})
    EXPECT_THAT(ValidateName(good), IsOk()) << good;
  EXPECT_THAT(ValidateName(std::string(64, 'x')), IsOk());
  EXPECT_THAT(ValidateName(std::string(64, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a whole id")));
  for (const std::string& bad : {std::string(), std::string("-a"), std::string(".a"), std::string("A"),
                                 std::string("a/b"), std::string("a b"), std::string(65, 'a')}) {
    EXPECT_THAT(ValidateName(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a-z 0-9"))) << bad;
  }
}

TEST(ValidateLabelsTest, LabelsOfOneImageAscend) {
  const ImageKey key = ::afterimage::testing::SyntheticImageKey(0);
  const Manifest twice = Manifest::FromOccurrences({key, key});
  EXPECT_THAT(ValidateLabels(twice, {.labels = {1, 2}, .class_names = {}}), IsOk());
  EXPECT_THAT(ValidateLabels(twice, {.labels = {2, 1}, .class_names = {}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(key.Hex())));
  EXPECT_THAT(ValidateLabels(twice, {.labels = {0, 1}, .class_names = {"a"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label 1")));
}

}  // namespace
}  // namespace afterimage
