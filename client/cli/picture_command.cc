// afterimage picture: a contact sheet of some records, as PNG.
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/command.h"
#include "client/cli/contact_sheet.h"
#include "core/base/status_macros.h"
#include "core/drawing/canvas.h"
#include "core/feature/feature_block.h"
#include "core/mask/mask.h"

namespace afterimage::cli {
namespace {

struct PictureFlags : SetFlags {
  std::string out;
  std::vector<std::string> keys;
  uint32_t count = 8;
  uint32_t view_seeds = 2;
  uint32_t level = 0;
  uint32_t cell = 112;
  double mask_ratio = 0.7;
  uint32_t mask_seed = 0;
};

// Images spread evenly over the key space, or those named.
absl::StatusOr<std::vector<ImageKey>> ChooseImages(const PictureFlags& flags, FeatureCatalog& catalog, const SetSummary& summary) {
  std::vector<ImageKey> chosen;
  for (const std::string& text : flags.keys) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const ImageKey key, ImageKey::FromHex(text));
    chosen.push_back(key);
  }
  if (!chosen.empty()) return chosen;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<ImageKey> keys, KeysOfSet(catalog, summary));
  const size_t count = std::min<size_t>(flags.count, keys.size());
  for (size_t i = 0; i < count; ++i) chosen.push_back(keys[i * keys.size() / count]);
  return chosen;
}

absl::Status RunPicture(const PictureFlags& flags) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet selected, OpenSelectedSet(flags));
  const SetSpec& spec = selected.summary.description.set;
  if (!spec.pixels) {
    return absl::FailedPreconditionError("this set was made with --pixels none: there are no views to draw");
  }
  const uint32_t level = flags.level != 0 ? flags.level : spec.levels.back();
  MaskSpec mask_spec;
  mask_spec.num_visible = NumVisible(selected.summary.description.feature.geometry.num_patches(), flags.mask_ratio);
  mask_spec.mask_seed = flags.mask_seed;

  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<ImageKey> images, ChooseImages(flags, *selected.cache.catalog, selected.summary));
  const uint32_t view_seeds = std::max(1u, std::min(flags.view_seeds, selected.summary.num_view_seeds));
  std::vector<SheetEntry> entries;
  uint32_t skipped = 0;
  for (const ImageKey& image : images) {
    for (uint32_t seed = 0; seed < view_seeds; ++seed) {
      const RecordKey key{image, seed};
      Selection selection;
      selection.levels = {level};
      absl::StatusOr<PinnedBytes> bytes = ReadOne(*selected.set.store, key, selection);
      if (!bytes.ok()) {
        ++skipped;
        std::cerr << "left out " << key.ToString() << ": " << bytes.status().message() << "\n";
        continue;
      }
      AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block,
                                  FeatureBlock::Parse(bytes->bytes, selected.set.store->profile()));
      SheetEntry entry;
      entry.title = absl::StrCat(image.Hex().substr(0, 8), " seed ", seed);
      AFTERIMAGE_ASSIGN_OR_RETURN(entry.record, block.ToRecord());
      if (spec.token_policy == TokenPolicy::kVisible) {
        entry.visible_patches = entry.record.masks.at(0);
      } else {
        AFTERIMAGE_ASSIGN_OR_RETURN(entry.visible_patches, DrawMask(mask_spec, image, seed, 0, entry.record.importance));
      }
      entries.push_back(std::move(entry));
    }
  }
  if (entries.empty()) return absl::NotFoundError(absl::StrCat("none of the ", skipped, " records could be read"));
  AFTERIMAGE_ASSIGN_OR_RETURN(const RgbImage sheet, DrawContactSheet(entries, level, flags.cell));
  AFTERIMAGE_RETURN_IF_ERROR(WritePng(sheet, flags.out));
  std::cout << flags.out << ": " << entries.size() << " views, level " << level << ", " << sheet.width << " x " << sheet.height
            << " pixels\n";
  return absl::OkStatus();
}

}  // namespace

void AddPictureCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<PictureFlags>();
  CLI::App* command = app.add_subcommand("picture", "PNG contact sheet: views, importance, visible patches, PCA of features");
  AddSetFlags(*command, *flags);
  command->add_option("--out", flags->out, "the PNG to write")->required();
  command->add_option("--key", flags->keys, "image keys to draw (default: spread over the data set)");
  command->add_option("--count", flags->count, "how many images")->check(CLI::Range(1u, 1000u))->capture_default_str();
  command->add_option("--view-seeds", flags->view_seeds, "views of each image")->capture_default_str();
  command->add_option("--level", flags->level, "teacher level for the PCA (0 = the last that is stored)")->capture_default_str();
  command->add_option("--cell", flags->cell, "side of a cell in pixels")->check(CLI::Range(16u, 2048u))->capture_default_str();
  command->add_option("--mask-ratio", flags->mask_ratio, "of the mask that is drawn (sets with all tokens)")->capture_default_str();
  command->add_option("--mask-seed", flags->mask_seed, "seed of that mask")->capture_default_str();
  command->callback([flags, &run] { run = [flags] { return RunPicture(*flags); }; });
}

}  // namespace afterimage::cli
