#include "core/feature/feature_spec.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "tests/core/feature/golden_bytes.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace golden = ::afterimage::testing::golden;

SetDescription GoldenDescription() {
  SetDescription description;
  description.feature.teacher = {{"family", "synthetic"}, {"name", "tiny"}};
  description.feature.preprocessing = {{"mean", {"0.5", "0.5", "0.5"}}, {"std", {"0.25", "0.25", "0.25"}}};
  description.feature.view.size = 4;
  description.feature.geometry = {.num_levels = 4, .width = 3, .grid = 2};
  description.set.feature_id = description.feature.Id();
  description.set.levels = {3, 4};
  description.set.token_policy = TokenPolicy::kVisible;
  description.set.mask = {.num_visible = 3, .mask_seed = 7, .num_masks = 2};
  description.layout = {.num_shards = 4, .seeds_per_unit = 2};
  return description;
}

TEST(FeatureSpecTest, IdsAreFrozen) {
  SetDescription description = GoldenDescription();
  EXPECT_EQ(description.feature.Id().Hex(), golden::kFeatureId);
  EXPECT_EQ(description.set.Id().Hex(), golden::kSetIdVisible);
  description.set.token_policy = TokenPolicy::kAll;
  EXPECT_EQ(description.set.Id().Hex(), golden::kSetIdAll);
  EXPECT_EQ(GoldenDescription().Serialize(), golden::kDescription);
}

TEST(FeatureSpecTest, ParseGivesBackWhatWasSerialized) {
  for (const TokenPolicy policy : {TokenPolicy::kAll, TokenPolicy::kVisible}) {
    SetDescription description = GoldenDescription();
    description.set.token_policy = policy;
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetDescription parsed,
                                    SetDescription::Parse(description.Serialize()));
    EXPECT_EQ(parsed.Serialize(), description.Serialize());
    EXPECT_EQ(parsed.feature.Id(), description.feature.Id());
    EXPECT_EQ(parsed.set.Id(), description.set.Id());
    EXPECT_EQ(parsed.layout, description.layout);
    EXPECT_EQ(parsed.feature.geometry, description.feature.geometry);
    EXPECT_EQ(parsed.set.levels, description.set.levels);
    EXPECT_EQ(parsed.set.pixels, description.set.pixels);
  }
}

TEST(FeatureSpecTest, EverythingThatMattersChangesTheId) {
  const std::function<void(SetDescription&)> feature_changes[] = {
      [](SetDescription& d) { d.feature.teacher["name"] = "other"; },
      [](SetDescription& d) { d.feature.preprocessing["mean"][0] = "0.4"; },
      [](SetDescription& d) { d.feature.view.size = 8; },
      [](SetDescription& d) { d.feature.geometry.width = 4; },
      [](SetDescription& d) { d.feature.normalization_eps = "1e-06"; },
  };
  for (const auto& change : feature_changes) {
    SetDescription description = GoldenDescription();
    change(description);
    EXPECT_NE(description.feature.Id().Hex(), golden::kFeatureId);
  }
  const std::function<void(SetDescription&)> set_changes[] = {
      [](SetDescription& d) { d.set.levels = {4}; },
      [](SetDescription& d) { d.set.mask.mask_seed = 8; },
      [](SetDescription& d) { d.set.mask.num_masks = 3; },
      [](SetDescription& d) { d.set.importance_from.bytes[0] = 1; },
      [](SetDescription& d) { d.set.pixels = false; },
      [](SetDescription& d) { d.set.pixel_coding = PixelCoding::kPacked; },
      [](SetDescription& d) { d.set.codec = Codec::kF32; },
      [](SetDescription& d) { d.set.feature_id.bytes[31] ^= 1; },
      [](SetDescription& d) { d.set.profile_digest.bytes[0] = 1; },
  };
  for (const auto& change : set_changes) {
    SetDescription description = GoldenDescription();
    change(description);
    EXPECT_NE(description.set.Id().Hex(), golden::kSetIdVisible);
  }
  SetDescription layout = GoldenDescription();
  layout.layout.num_shards = 64;
  EXPECT_EQ(layout.set.Id().Hex(), golden::kSetIdVisible);  // the layout is in no id
}

struct Spoilt {
  std::function<void(SetDescription&)> spoil;
  const char* message;
};

TEST(FeatureSpecTest, ValidateNamesWhatIsWrong) {
  const Spoilt spoilt[] = {
      {[](SetDescription& d) { d.set.levels.clear(); }, "no levels"},
      {[](SetDescription& d) {
         d.set.levels = {4, 3};
       },
       "4,3 are not ascending"},
      {[](SetDescription& d) {
         d.set.levels = {3, 3};
       },
       "3,3 are not ascending"},
      {[](SetDescription& d) {
         d.set.levels = {0, 3};
       },
       "lowest level is 0"},
      {[](SetDescription& d) {
         d.set.levels = {3, 5};
       },
       "highest level is 5"},
      {[](SetDescription& d) { d.set.feature_id.bytes[0] ^= 1; }, golden::kFeatureId},
      {[](SetDescription& d) { d.set.mask.num_visible = 5; }, "visible patches is 5, it must be in 1..4"},
      {[](SetDescription& d) { d.set.mask.num_visible = 0; }, "visible patches is 0"},
      {[](SetDescription& d) { d.set.mask.num_masks = 0; }, "number of masks is 0"},
      {[](SetDescription& d) { d.set.codec = Codec::kI8x; }, "codec i8x needs a profile"},
      {[](SetDescription& d) { d.layout.num_shards = 0; }, "shards is 0"},
      {[](SetDescription& d) { d.layout.seeds_per_unit = 0; }, "seeds per unit is 0"},
      {[](SetDescription& d) { d.feature.geometry.grid = 0; }, "grid is 0"},
      {[](SetDescription& d) { d.feature.geometry.grid = 256; }, "grid is 256"},
      {[](SetDescription& d) { d.feature.geometry.grid = 3; }, "not a multiple of the teacher's grid of 3"},
      {[](SetDescription& d) { d.feature.geometry.width = 0; }, "width is 0"},
      {[](SetDescription& d) { d.feature.geometry.num_levels = 0; }, "number of levels is 0"},
      {[](SetDescription& d) { d.feature.normalization_eps = "0.00001"; }, "eps \"0.00001\""},
      {[](SetDescription& d) { d.feature.teacher = "name"; }, "teacher"},
      {[](SetDescription& d) { d.feature.teacher["eps"] = 0.5; }, "teacher.eps"},
      {[](SetDescription& d) { d.feature.preprocessing = nullptr; }, "preprocessing"},
  };
  EXPECT_THAT(GoldenDescription().Validate(), ::afterimage::testing::IsOk());
  for (const Spoilt& one : spoilt) {
    SetDescription description = GoldenDescription();
    one.spoil(description);
    EXPECT_THAT(description.Validate(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(one.message)))
        << one.message;
  }
}

std::string Replaced(const std::string& from, const std::string& to) {
  std::string text = golden::kDescription;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(FeatureSpecTest, AnotherVersionIsToldWithBoth) {
  EXPECT_THAT(
      SetDescription::Parse(Replaced("\"format_version\":1", "\"format_version\":3")),
      StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("version 3"), HasSubstr("version 1"))));
  EXPECT_THAT(SetDescription::Parse(R"({"format_version": 2, "anything": 1.5})"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 2")));
  EXPECT_THAT(
      SetDescription::Parse(
          Replaced("\"tokens\":\"visible\",\"version\":1", "\"tokens\":\"visible\",\"version\":9")),
      StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("set spec"), HasSubstr("version 9"))));
}

// Programs that know nothing of packed pixels refuse the set by its version.
TEST(FeatureSpecTest, PackedPixelsAreVersionTwoOfTheSetSpec) {
  SetDescription description = GoldenDescription();
  AFTERIMAGE_ASSERT_OK(SetPixels("packed", description.set));
  EXPECT_EQ(PixelsName(description.set), "packed");
  const std::string text = description.Serialize();
  EXPECT_THAT(text, HasSubstr(R"("pixels":"packed")"));
  EXPECT_THAT(text, HasSubstr(R"("tokens":"visible","version":2)"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(SetDescription parsed, SetDescription::Parse(text));
  EXPECT_EQ(parsed.set.Id(), description.set.Id());
  EXPECT_EQ(PixelsName(parsed.set), "packed");
  AFTERIMAGE_ASSERT_OK(SetPixels("raw", parsed.set));
  EXPECT_EQ(parsed.set.Id().Hex(), golden::kSetIdVisible);
  AFTERIMAGE_ASSERT_OK(SetPixels("none", parsed.set));
  EXPECT_EQ(PixelsName(parsed.set), "none");
  EXPECT_THAT(SetPixels("some", parsed.set),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("known are: packed, raw, none")));
  for (const char* const pixels : {"true", "\"raw\""}) {
    std::string other = text;
    other.replace(other.find("\"packed\""), 8, pixels);
    EXPECT_THAT(SetDescription::Parse(other),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("packed")));
  }
}

TEST(FeatureSpecTest, ParseRefusesOtherTexts) {
  const std::pair<std::string, const char*> bad[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {Replaced(",\"set\"", ", \"set\""), "canonical form"},
      {Replaced("\"layout\":", "\"layuot\":"), "unknown key \"layuot\""},
      {Replaced("\"codec\":\"f16\"", "\"codec\":\"f17\""), "codec \"f17\" is unknown; known are: f32, f16"},
      {Replaced("\"pixels\":true", "\"pixels\":1"), "pixels"},
      {Replaced("\"pixels\":true", "\"pixels\":\"packed\""), "pixels"},
      {Replaced("\"tokens\":\"visible\"", "\"tokens\":\"some\""), "tokens \"some\""},
      {Replaced("\"tokens\":\"visible\"", "\"tokens\":\"all\""), "\"mask\" belongs to"},
      {Replaced("\"levels\":[3,4]", "\"levels\":[3,-4]"), "levels"},
      {Replaced("\"levels\":[3,4]", "\"levels\":[3,5]"), "highest level is 5"},
      {Replaced("\"width\":3", "\"width\":-3"), "width"},
      {Replaced("\"kind\":\"layer_norm\"", "\"kind\":\"batch_norm\""), "batch_norm"},
      {Replaced("\"feature_id\":\"8", "\"feature_id\":\"g"), "feature_id"},
      {Replaced("\"name\":\"tiny\"", "\"name\":\"huge\""), "feature id"},
  };
  for (const auto& [text, message] : bad) {
    EXPECT_THAT(SetDescription::Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << message;
  }
}

TEST(FeatureSpecTest, ASetCanHoldTheImportanceOfAnotherTeacher) {
  SetDescription description = GoldenDescription();
  EXPECT_EQ(description.set.MaskSource(), description.set.feature_id);
  description.set.importance_from.bytes.fill(0xab);
  EXPECT_EQ(description.set.MaskSource(), description.set.importance_from);
  EXPECT_THAT(SetDescription::Parse(description.Serialize()),
              IsOkAndHolds(::testing::Field(
                  &SetDescription::set,
                  ::testing::Field(&SetSpec::importance_from, description.set.importance_from))));
  description.feature.teacher["importance"] = kNoImportance;
  description.set.feature_id = description.feature.Id();
  EXPECT_THAT(description.Validate(), ::afterimage::testing::IsOk());
  description.set.importance_from = {};
  EXPECT_THAT(description.Validate(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--mask-type random")));
  const std::string zeros(64, '0');
  EXPECT_THAT(
      SetDescription::Parse(Replaced(",\"levels\"", ",\"importance_from\":\"" + zeros + "\",\"levels\"")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("importance_from")));
}

TEST(FeatureSpecTest, CodecsHaveNames) {
  EXPECT_EQ(CodecName(Codec::kF32), "f32");
  EXPECT_THAT(ParseCodec("bf16"), IsOkAndHolds(Codec::kBf16));
  EXPECT_THAT(ParseCodec("f16"), IsOkAndHolds(Codec::kF16));
  EXPECT_THAT(ParseCodec("F16"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f32, f16, bf16, lossless16")));
  for (const Codec codec : kAllCodecs) EXPECT_THAT(ParseCodec(CodecName(codec)), IsOkAndHolds(codec));
}

TEST(FeatureSpecTest, StepsOfEzqHaveOneNameEach) {
  const std::vector<Codec> codecs = EzqCodecs();
  EXPECT_EQ(codecs.size(), 4u * kStepsPerOctave + 1);
  uint32_t before = 0;
  for (const Codec codec : codecs) {
    EXPECT_THAT(ParseCodec(CodecName(codec)), IsOkAndHolds(codec));
    const uint32_t step = EzqStep1024(codec);
    EXPECT_GT(step, before);
    EXPECT_TRUE(before == 0 || step * 32 <= before * 33) << step;  // so an error is met within 3.2 %
    before = step;
    EXPECT_TRUE(NeedsProfile(codec));
    EXPECT_EQ(RowCodec(codec), Codec::kF16);
  }
  EXPECT_EQ(EzqStep1024(Codec::kEzq32), 32);
  EXPECT_EQ(EzqStep1024(Codec::kEzq2), 512);
  EXPECT_EQ(CodecName(static_cast<Codec>(128 + 33)), "ezq:66");
  EXPECT_EQ(CodecName(static_cast<Codec>(255)), "ezq:504");
  const auto refused = [](absl::string_view name, const char* nearest) {
    EXPECT_THAT(ParseCodec(name), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(nearest))) << name;
  };
  refused("ezq:64", "nearest to it: ezq16");  // has a name of its own
  refused("ezq:67", "nearest to it: ezq:66 and ezq:68");
  refused("ezq:1", "nearest to it: ezq32");
  refused("ezq:600", "nearest to it: ezq2");
  refused("ezq:066", "nearest to it: ezq:66");
  refused("ezq:", "known are");
  refused("ezq:-66", "known are");
  EXPECT_FALSE(IsEzq(static_cast<Codec>(160)));
  EXPECT_FALSE(IsEzq(static_cast<Codec>(15)));
}

TEST(FeatureSpecTest, LastLevels) {
  EXPECT_THAT(LastLevels(12, 5), ElementsAre(8, 9, 10, 11, 12));
  EXPECT_THAT(LastLevels(4, 9), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(LastLevels(4, 0), IsEmpty());
}

}  // namespace
}  // namespace afterimage
