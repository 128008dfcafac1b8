// What checkpoints of one family differ in: prefixes, element types, shards, registers, known sizes.
#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "core/vit/known_teachers.h"
#include "core/vit/teacher_families.h"
#include "core/vit/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/vit/changed_teacher.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::GoldenFile;
using ::afterimage::testing::StatusIs;
using ::afterimage::testing::Tensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void AddPrefix(Tensors& tensors, const std::string& prefix) {
  Tensors renamed;
  for (const auto& [name, view] : tensors) {
    const bool weight = !name.starts_with("input.") && !name.starts_with("output.");
    renamed[weight ? prefix + name : name] = view;
  }
  tensors = std::move(renamed);
}

class TeacherVariantsTest : public ::afterimage::testing::ChangedTeacherTest {};

TEST_F(TeacherVariantsTest, APrefixOfAllNamesIsNoneOfTheFamilysBusiness) {
  for (const char* golden : {"teacher_timm_vit", "teacher_hf_clip", "teacher_hf_clip_p16",
                             "teacher_open_clip_gelu_p16", "teacher_hf_mae", "teacher_hf_dinov2_registers",
                             "teacher_mae", "teacher_dino_original", "teacher_dinov2_original_giant"}) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel plain, Load(golden, Unchanged));
    for (const char* prefix : {"model.", "vision_model.", "module.", "backbone.", "teacher.backbone."}) {
      SCOPED_TRACE(std::string(golden) + " under " + prefix);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                      Load(golden, [&](Tensors& t) { AddPrefix(t, prefix); }));
      EXPECT_EQ(model.family, plain.family);
      ASSERT_EQ(model.parameters.size(), plain.parameters.size());
      for (const auto& [name, tensor] : plain.parameters) {
        EXPECT_TRUE(at::equal(model.parameters.at(name), tensor)) << name;
      }
    }
  }
}

// Fine-tuned with mean pooling (MAE, timm's global_pool="avg"): the last norm is behind the pooling.
TEST_F(TeacherVariantsTest, AClassifierThatPoolsPatchesHasItsNormBehindThem) {
  for (const char* golden : {"teacher_timm_vit", "teacher_mae"}) {
    SCOPED_TRACE(golden);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel plain, Load(golden, Unchanged));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model, Load(golden, [](Tensors& t) {
                                      for (const char* part : {"weight", "bias"}) {
                                        auto node = t.extract(absl::StrCat("norm.", part));
                                        node.key() = absl::StrCat("fc_norm.", part);
                                        t.insert(std::move(node));
                                      }
                                    }));
    EXPECT_EQ(model.parameters.size(), plain.parameters.size());
    const at::Tensor rows =
        at::randn({1, plain.config.num_patches(), 3 * plain.config.patch_size * plain.config.patch_size});
    EXPECT_TRUE(at::equal(VitForward(model.config, model.parameters, rows).hidden.back(),
                          VitForward(plain.config, plain.parameters, rows).hidden.back()));
  }
  // Without any norm behind the blocks it is a damaged file.
  EXPECT_THAT(Load("teacher_timm_vit",
                   [](Tensors& t) {
                     t.erase("norm.weight");
                     t.erase("norm.bias");
                   })
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("norm.")));
}

// Their state dicts hold three numbers beside the weights.
TEST_F(TeacherVariantsTest, OpenAisOwnArchivesAreOpenClips) {
  const int64_t number = 224;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const TeacherModel model, Load("teacher_open_clip_quickgelu", [&](Tensors& t) {
        for (const char* name : {"input_resolution", "context_length", "vocab_size"}) {
          t[name] = {TensorType::kI64, {}, {reinterpret_cast<const uint8_t*>(&number), 8}};
        }
      }));
  EXPECT_EQ(model.family, "open_clip");
}

// A training checkpoint of DINO.
void MakeTwoTowers(Tensors& tensors) {
  Tensors student = tensors;
  AddPrefix(student, "student.module.backbone.");
  AddPrefix(tensors, "teacher.backbone.");
  tensors["teacher.head.mlp.0.bias"] = tensors.at("teacher.backbone.norm.bias");
  tensors.merge(student);
}

TEST_F(TeacherVariantsTest, OfSeveralTowersTheFlagSaysWhich) {
  EXPECT_THAT(Load("teacher_dino_original", MakeTwoTowers),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"student.module.backbone.\", \"teacher.backbone.\""),
                             HasSubstr("--teacher-prefix"))));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_dino_original", MakeTwoTowers,
                                       [](TeacherOptions& o) { o.prefix = "teacher.backbone."; }));
  EXPECT_EQ(model.config.depth, 3);
  EXPECT_THAT(
      Load("teacher_dino_original", MakeTwoTowers, [](TeacherOptions& o) { o.prefix = "ema."; }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("no tensor has the prefix \"ema.\""), HasSubstr("student.module.backbone."))));
}

TEST_F(TeacherVariantsTest, ATensorBesideTheTowersPrefixIsNamed) {
  EXPECT_THAT(Load("teacher_timm_vit",
                   [](Tensors& t) {
                     AddPrefix(t, "backbone.");
                     t["decode_head.weight"] = t.at("backbone.norm.bias");
                   }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"decode_head.weight\" lies outside \"backbone.\""),
                             HasSubstr("--teacher-prefix backbone."))));
}

TEST_F(TeacherVariantsTest, HalfPrecisionWeightsAreReadExactly) {
  const GoldenFile golden("teacher_timm_registers_embedded");
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    ParameterMap rounded, back;
    for (const auto& [name, view] : golden.file().tensors()) {
      if (name.starts_with("input.") || name.starts_with("output.")) continue;
      rounded[name] = ToTensor(view).to(type);
      back[name] = rounded[name].to(at::kFloat);
    }
    const auto load = [&](const ParameterMap& tensors) -> absl::StatusOr<TeacherModel> {
      AFTERIMAGE_RETURN_IF_ERROR(SaveTensors(path(), tensors));
      AFTERIMAGE_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path()));
      return LoadTeacherModel(*file, golden.Options(), at::kFloat);
    };
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel half, load(rounded));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel full, load(back));
    for (const auto& [name, tensor] : full.parameters) {
      EXPECT_TRUE(at::equal(half.parameters.at(name), tensor)) << name;
    }
  }
}

TEST_F(TeacherVariantsTest, ShardsWithTheirConfigurationAreATeacher) {
  const GoldenFile golden("teacher_hf_dinov2_swiglu");
  Tensors first, second;
  std::string map;
  for (const auto& [name, view] : golden.file().tensors()) {
    const bool early = first.size() < 20;
    (early ? first : second)[name] = view;
    map += (map.empty() ? "\"" : ",\"") + name + (early ? "\":\"1.safetensors\"" : "\":\"2.safetensors\"");
  }
  AFTERIMAGE_ASSERT_OK(WriteSafetensors((folder_ / "1.safetensors").string(), first));
  AFTERIMAGE_ASSERT_OK(WriteSafetensors((folder_ / "2.safetensors").string(), second));
  WriteBeside("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  WriteBeside("config.json", R"({"model_type":"dinov2","num_attention_heads":4,"hidden_act":"gelu"})");
  TeacherOptions options;
  options.weights = folder_.path().string();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto sharded, TeacherRunner::Load(options));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto whole, TeacherRunner::Load(golden.Options()));
  EXPECT_EQ(sharded->TeacherSpec(), whole->TeacherSpec());  // the digest is in it
  EXPECT_EQ(sharded->TeacherSpec()["architecture"]["activation"], "swiglu");
  std::filesystem::remove(folder_ / "2.safetensors");
  EXPECT_THAT(TeacherRunner::Load(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("2.safetensors")));
}

TEST_F(TeacherVariantsTest, RegistersAreRowsOfTheNetworkAndOfNothingElse) {
  const GoldenFile golden("teacher_timm_registers");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto runner, TeacherRunner::Load(golden.Options()));
  EXPECT_EQ(runner->geometry(), (TeacherGeometry{.num_levels = 3, .width = 32, .grid = 6}));
  EXPECT_EQ(runner->TeacherSpec()["architecture"]["num_registers"], 3);
  View view;
  view.pixels = {24, 24, std::vector<uint8_t>(24 * 24 * 3, 100)};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto records,
                                  runner->Run({&view, 1}, std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(records[0].importance.size(), 36u);
  EXPECT_EQ(records[0].tokens.size(), 37u);
  for (const LevelFeatures& level : records[0].levels) EXPECT_EQ(level.values.size(), 37u * 32u);
}

TEST_F(TeacherVariantsTest, RegistersOfAWrongShapeAreNamed) {
  EXPECT_THAT(Load("teacher_timm_registers",
                   [](Tensors& t) {
                     t.at("reg_token").shape = {3, 32, 1};
                   }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"reg_token\""), HasSubstr("[1, registers, 32]"))));
  EXPECT_THAT(Load("teacher_hf_deit", [](Tensors& t) { t.erase("embeddings.distillation_token"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("position_embeddings")));
}

// A shape of no bytes promises 48 TB of parameters: nothing is allocated before the shapes fit.
TEST_F(TeacherVariantsTest, ShapesThatPromiseMoreThanTheFileHoldsAreRefused) {
  EXPECT_THAT(Load("teacher_timm_vit",
                   [](Tensors& t) {
                     for (int block = 0; block < 3; ++block) {
                       TensorView& fc1 = t.at("blocks." + std::to_string(block) + ".mlp.fc1.weight");
                       fc1 = {TensorType::kF32, {250'000'000'000, 0}, {}};
                     }
                   }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has shape [")));
}

TEST_F(TeacherVariantsTest, ATableWhoseRowsHaveTwoMeaningsIsRefused) {
  const GoldenFile golden("teacher_timm_registers");
  const at::Tensor table = at::zeros({1, 17, 32}), registers = at::zeros({1, 7, 32});
  EXPECT_THAT(Load("teacher_timm_registers",
                   [&](Tensors& t) {
                     const auto bytes = [](const at::Tensor& x) {
                       return ByteSpan(static_cast<const uint8_t*>(x.const_data_ptr()), x.nbytes());
                     };
                     t["pos_embed"] = {TensorType::kF32, {1, 17, 32}, bytes(table)};
                     t["reg_token"] = {TensorType::kF32, {1, 7, 32}, bytes(registers)};
                   }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 + 4 x 4 or 8 + 3 x 3")));
}

TEST_F(TeacherVariantsTest, AGatedMlpHasItsOwnActivation) {
  EXPECT_THAT(Load("teacher_timm_swiglu", Unchanged, [](TeacherOptions& o) { o.activation = "gelu"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is gated: its shapes say swiglu")));
  EXPECT_THAT(Load("teacher_timm_vit", Unchanged, [](TeacherOptions& o) { o.activation = "swiglu"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no gate")));
}

TEST_F(TeacherVariantsTest, ReadsTransformersPreprocessor) {
  WriteBeside("preprocessor_config.json", R"({"image_mean":[0.5,0.4,0.3],"image_std":[0.25,0.5,0.75]})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  Load("teacher_hf_vit_dino_p16", Unchanged, [](TeacherOptions& o) {
                                    o = {};
                                    o.num_heads = 4;
                                  }));
  EXPECT_THAT(model.mean, ElementsAre(0.5, 0.4, 0.3));
  EXPECT_THAT(model.std, ElementsAre(0.25, 0.5, 0.75));
  WriteBeside("preprocessor_config.json", R"({"image_mean":[0.5]})");
  EXPECT_THAT(Load("teacher_hf_vit_dino_p16", Unchanged),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("preprocessor_config.json"), HasSubstr("image_mean"))));
}

// Google's ViTs and DINO's take different pixels.
TEST_F(TeacherVariantsTest, AViTWithoutItsPreprocessorNeedsItsPixelsSaid) {
  EXPECT_THAT(Load("teacher_hf_vit_dino_p16", Unchanged,
                   [](TeacherOptions& o) {
                     o = {};
                     o.num_heads = 4;
                   }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--teacher-mean 0.485,0.456,0.406")));
}

TEST_F(TeacherVariantsTest, OpenClipsOwnConfigurationComesFirstForItsWeights) {
  WriteBeside("config.json",
              R"({"model_type":"clip","vision_config":{"hidden_act":"quick_gelu","num_attention_heads":2}})");
  WriteBeside("open_clip_config.json",
              R"({"model_cfg":{"vision_cfg":{"width":32,"head_width":8}},"preprocess_cfg":{}})");
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel open,
                                  Load("teacher_open_clip_gelu_p16", Unchanged, WithoutSettings));
  EXPECT_EQ(open.config.activation, Activation::kGelu);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel hugging,
                                  Load("teacher_hf_clip", Unchanged, WithoutSettings));
  EXPECT_EQ(hugging.config.activation, Activation::kQuickGelu);
  EXPECT_EQ(hugging.config.heads, 2);
}

// A whole DeiT-Ti, all zeros: heads and pixels from the table and the family.
TEST_F(TeacherVariantsTest, AKnownModelNeedsNothingSaid) {
  const VitConfig tiny{.width = 192, .depth = 12, .heads = 3, .mlp_width = 768};
  ParameterMap parameters;
  for (const auto& [name, shape] : VitParameterShapes(tiny)) parameters[name] = at::zeros(shape, at::kHalf);
  AFTERIMAGE_ASSERT_OK(SaveTensors(path(), parameters));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path()));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const TeacherModel model,
                                  LoadTeacherModel(*file, {.family = "deit"}, at::kFloat));
  EXPECT_EQ(model.config.ToCanonical(), tiny.ToCanonical());
  EXPECT_THAT(model.mean, ElementsAre(0.485, 0.456, 0.406));
}

// What a network of these sizes needs is said before its blocks are read.
TEST_F(TeacherVariantsTest, AClipLOfLaionNeedsItsPixelsSaid) {
  ParameterMap parameters;
  const std::string tower = "visual.", block = tower + "transformer.resblocks.0.";
  for (const auto& [name, shape] :
       std::map<std::string, std::vector<int64_t>>{{tower + "class_embedding", {1024}},
                                                   {tower + "conv1.weight", {1024, 3, 1, 1}},
                                                   {tower + "positional_embedding", {2, 1024}},
                                                   {block + "ln_1.weight", {1024}},
                                                   {block + "mlp.c_fc.weight", {1, 1024}},
                                                   {block + "mlp.c_proj.weight", {1024, 1}}}) {
    parameters[name] = at::zeros(shape);
  }
  AFTERIMAGE_ASSERT_OK(SaveTensors(path(), parameters));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto file, SafetensorsFile::Open(path()));
  TeacherOptions options{.num_heads = 16, .activation = "gelu"};
  EXPECT_THAT(LoadTeacherModel(*file, options, at::kFloat),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("do not tell mean and std")));
  options.activation = "quick_gelu";  // OpenAI's: one answer
  EXPECT_THAT(LoadTeacherModel(*file, options, at::kFloat),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is missing")));
}

TEST(KnownTeachersTest, PublishedModelsHaveTheirHeads) {
  const auto heads = [](const std::string& family, int64_t width, int64_t depth, int64_t mlp, int64_t patch) {
    return KnownHeads(family, {.patch_size = patch, .width = width, .depth = depth, .mlp_width = mlp});
  };
  EXPECT_EQ(heads("hf_clip", 768, 12, 3072, 32), 12);
  EXPECT_EQ(heads("hf_clip", 768, 12, 3072, 16), 12);
  EXPECT_EQ(heads("open_clip", 1024, 24, 4096, 14), 16);
  EXPECT_EQ(heads("open_clip", 1664, 48, 8192, 14), 16);
  EXPECT_EQ(heads("dino_original", 384, 12, 1536, 8), 6);
  EXPECT_EQ(heads("hf_vit", 768, 12, 3072, 16), 12);
  EXPECT_EQ(heads("hf_dinov2", 384, 12, 1536, 14), 6);
  EXPECT_EQ(heads("dinov2_original", 1536, 40, 4096, 14), 24);
  EXPECT_EQ(heads("hf_deit", 192, 12, 768, 16), 3);
  EXPECT_EQ(heads("mae", 1280, 32, 5120, 14), 16);
  EXPECT_EQ(heads("mae", 1024, 24, 4096, 16), 16);
  EXPECT_EQ(heads("hf_clip", 768, 11, 3072, 16), std::nullopt);
  EXPECT_EQ(heads("hf_clip", 768, 12, 3072, 14), std::nullopt);
  EXPECT_EQ(heads("hf_clip", 384, 12, 1536, 16), std::nullopt);  // DINO's size, no CLIP's
}

TEST(KnownTeachersTest, NoTwoRowsContradictEachOther) {
  for (const KnownTeacher& known : KnownTeachers()) {
    EXPECT_EQ(known.width % known.heads, 0) << known.name;
    for (const std::string& family : known.families) {
      EXPECT_THAT(TeacherFamilyNames(), ::testing::Contains(family));
      for (const int64_t patch : known.patch_sizes) {
        EXPECT_EQ(KnownHeads(family, {.patch_size = patch,
                                      .width = known.width,
                                      .depth = known.depth,
                                      .mlp_width = known.mlp_width}),
                  known.heads)
            << known.name << " as " << family;
      }
    }
  }
}

}  // namespace
}  // namespace afterimage
