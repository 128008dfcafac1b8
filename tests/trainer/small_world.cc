#include "tests/trainer/small_world.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/feature/profile_builder.h"
#include "core/view/philox.h"
#include "core/view/view.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "trainer/model/vit_init.h"
#include "trainer/model/weights_file.h"

namespace afterimage::trainer::testing {
namespace {

constexpr int kSide = 16;

std::string Picture(uint32_t seed, uint32_t number, bool right) {
  std::string ppm = absl::StrCat("P6\n", kSide, " ", kSide, "\n255\n");
  for (uint32_t i = 0; i < kSide * kSide; ++i) {
    const bool bright = (i % kSide >= kSide / 2) == right;
    const auto noise = Philox4x32({i, number, 0, 0}, {seed, right});
    for (int channel = 0; channel < 3; ++channel)
      ppm += static_cast<char>((bright ? 120 : 0) + noise[channel] % 120);
  }
  return ppm;
}

}  // namespace

void WriteImages(const std::string& folder, const SmallWorldOptions& options) {
  for (const char* name : {"left", "right"})
    std::filesystem::create_directories(absl::StrCat(folder, "/", name));
  for (int i = 0; i < options.num_images; ++i) {
    const bool right = i % 2 == 1;
    std::ofstream(absl::StrCat(folder, right ? "/right/" : "/left/", i, ".ppm"), std::ios::binary)
        << Picture(options.seed, i, right);
  }
  for (int i = 0; i < options.num_undecodable; ++i) {
    std::ofstream(absl::StrCat(folder, "/left/broken", i, ".jpg"), std::ios::binary) << "no picture " << i;
  }
}

void WriteTeacher(const std::string& path, uint64_t seed, int64_t width) {
  VitWeights weights;
  weights.config = {
      .image_size = 12, .patch_size = 3, .width = width, .depth = 3, .heads = 2, .mlp_width = 2 * width};
  weights.parameters = NewVit(weights.config, seed);
  ASSERT_THAT(SaveVitWeights(path, weights, "f32"), afterimage::testing::IsOk());
}

SetDescription DescribeSet(const TeacherRunner& teacher, TokenPolicy policy, Codec codec, bool pixels) {
  SetDescription description;
  ViewSpec view;
  view.size = teacher.view_size();
  view.min_area = {1, 3};
  description.feature = MakeFeatureSpec(teacher, view);
  description.set.feature_id = description.feature.Id();
  description.set.levels = {2, 3};
  description.set.token_policy = policy;
  description.set.codec = codec;
  description.set.pixels = pixels;
  description.set.mask = {};
  if (policy == TokenPolicy::kVisible)
    description.set.mask = {.num_visible = 5, .mask_seed = 3, .num_masks = 2};
  description.layout = {.num_shards = 2, .seeds_per_unit = 1};
  return description;
}

absl::Status Calibrate(FeatureCatalog& catalog, TeacherRunner& teacher, const ImageIndex& images,
                       SetDescription& description) {
  ProfileBuilder builder(description.set.feature_id, description.set.levels, teacher.geometry().width);
  for (const ImageKey& key : images.manifest().keys()) {
    const absl::StatusOr<RgbImage> image = images.ReadImage(key);
    if (!image.ok()) continue;
    const ViewSpec& spec = description.feature.view;
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const View view,
        MakeView(*image, spec, DrawViewGeometry(key, spec, /*view_seed=*/0, image->width, image->height)));
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<FeatureRecord> records,
                                teacher.Run({&view, 1}, description.set.levels));
    AFTERIMAGE_RETURN_IF_ERROR(builder.Add(records[0]));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile measured, builder.Finish());
  ProfileContent content = measured.content();
  for (LevelProfile& level : content.levels) {
    for (float& sigma : level.sigma) sigma *= 0.55f;
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureProfile profile, FeatureProfile::Create(std::move(content)));
  description.set.profile_digest = profile.digest();
  return catalog.PutProfile(profile);
}

absl::Status FillCache(FeatureCatalog& catalog, TeacherRunner& teacher, const ImageIndex& images,
                       const SetDescription& description, uint32_t num_view_seeds,
                       FeatureStore* importance_from) {
  AFTERIMAGE_RETURN_IF_ERROR(catalog.PutManifest(images.manifest()));
  AFTERIMAGE_RETURN_IF_ERROR(catalog.CreateSet(description).status());
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto profile, ProfileOfSet(catalog, description));
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set,
                              catalog.OpenSet(description.set.Id(), OpenMode::kContribute));
  while (true) {
    AFTERIMAGE_ASSIGN_OR_RETURN(
        const ClaimResult claim,
        set.ledger->Claim(
            {.manifest = images.manifest().digest(), .num_view_seeds = num_view_seeds, .worker = "test"}));
    if (claim.all_complete) return absl::OkStatus();
    for (const ClaimedUnit& unit : claim.units) {
      AFTERIMAGE_ASSIGN_OR_RETURN(const auto writer, set.publisher->Open(unit.lease));
      for (const RecordKey& key : unit.wanted) {
        const absl::StatusOr<RgbImage> image = images.ReadImage(key.image);
        std::string block;
        if (!image.ok()) {
          block = EncodeFailedBlock(image.status().message());
        } else {
          const ViewSpec& spec = description.feature.view;
          AFTERIMAGE_ASSIGN_OR_RETURN(
              const View view,
              MakeView(*image, spec,
                       DrawViewGeometry(key.image, spec, key.view_seed, image->width, image->height)));
          AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<FeatureRecord> records,
                                      teacher.Run({&view, 1}, description.set.levels));
          FeatureRecord record = std::move(records[0]);
          if (importance_from != nullptr) {
            AFTERIMAGE_ASSIGN_OR_RETURN(const PinnedBytes other, ReadOne(*importance_from, key));
            AFTERIMAGE_ASSIGN_OR_RETURN(record.importance, FeatureBlock::Parse(other.bytes)->Importance());
          }
          if (description.set.token_policy == TokenPolicy::kVisible) {
            std::vector<std::vector<uint16_t>> masks;
            for (uint32_t m = 0; m < description.set.mask.num_masks; ++m) {
              AFTERIMAGE_ASSIGN_OR_RETURN(
                  masks.emplace_back(),
                  DrawMask(description.set.mask, key.image, key.view_seed, m, record.importance));
            }
            record = KeepVisible(record, std::move(masks));
          }
          if (!description.set.pixels) record.pixels.clear();
          AFTERIMAGE_ASSIGN_OR_RETURN(block,
                                      EncodeFeatureBlock(record, description.set.codec, profile.get()));
        }
        AFTERIMAGE_RETURN_IF_ERROR(writer->Add(key, AsBytes(block)));
      }
      AFTERIMAGE_RETURN_IF_ERROR(writer->Publish({.worker = "test"}).status());
    }
  }
}

}  // namespace afterimage::trainer::testing
