#include "core/vit/known_teachers.h"

#include <algorithm>

namespace afterimage {

const std::vector<KnownTeacher>& KnownTeachers() {
  using Families = std::vector<std::string>;
  const Families deit = {"timm_vit", "deit", "hf_vit", "hf_deit"};
  const Families dino = {"timm_vit", "deit", "hf_vit", "hf_deit", "dino_original"};
  const Families mae = {"timm_vit", "hf_vit", "mae", "hf_mae"};
  const Families dinov2 = {"timm_vit", "hf_dinov2", "dinov2_original"};
  const Families clip = {"hf_clip", "open_clip"};
  static const auto& table = *new std::vector<KnownTeacher>{
      {"ViT-Ti, DeiT-Ti", deit, 192, 12, 768, {16}, 3},
      {"ViT-S, DeiT-S, DINO S", dino, 384, 12, 1536, {8, 16, 32}, 6},
      {"ViT-B, DeiT-B, DINO B", dino, 768, 12, 3072, {8, 16, 32}, 12},
      {"MAE B", mae, 768, 12, 3072, {16}, 12},
      {"ViT-L, MAE L", mae, 1024, 24, 4096, {16, 32}, 16},
      {"ViT-H, MAE H", mae, 1280, 32, 5120, {14}, 16},
      {"DINOv2 S", dinov2, 384, 12, 1536, {14}, 6},
      {"DINOv2 B", dinov2, 768, 12, 3072, {14}, 12},
      {"DINOv2 L", dinov2, 1024, 24, 4096, {14}, 16},
      {"DINOv2 g", dinov2, 1536, 40, 4096, {14}, 24},
      {"CLIP B", clip, 768, 12, 3072, {16, 32}, 12},
      {"CLIP L", clip, 1024, 24, 4096, {14}, 16},
      {"CLIP H", clip, 1280, 32, 5120, {14}, 16},
      {"CLIP g", clip, 1408, 40, 6144, {14}, 16},
      {"CLIP bigG", clip, 1664, 48, 8192, {14}, 16},
  };
  return table;
}

std::optional<int64_t> KnownHeads(const std::string& family, const VitConfig& config) {
  const auto holds = [](const auto& list, const auto& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  for (const KnownTeacher& known : KnownTeachers()) {
    if (known.width == config.width && known.depth == config.depth && known.mlp_width == config.mlp_width &&
        holds(known.patch_sizes, config.patch_size) && holds(known.families, family)) {
      return known.heads;
    }
  }
  return std::nullopt;
}

}  // namespace afterimage
