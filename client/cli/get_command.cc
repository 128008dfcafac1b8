// afterimage get: one record, as safetensors for Python or as text.
#include <iostream>
#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/flags/encoding_flag.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"
#include "core/feature/feature_block.h"
#include "core/tensors/safetensors.h"

namespace afterimage::cli {
namespace {

struct GetFlags : SetFlags {
  std::string key;
  std::string image;
  uint32_t view_seed = 0;
  std::vector<uint32_t> levels;
  Selection::Encoding encoding = Selection::Encoding::kStored;
  std::string out;
};

template <typename T>
TensorView ViewOf(const std::vector<T>& values, TensorType type, std::vector<int64_t> shape) {
  return {type, std::move(shape), {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)}};
}

absl::Status WriteRecord(const std::string& path, const RecordKey& key, const FeatureRecord& record) {
  std::map<std::string, TensorView> tensors;
  const int64_t rows = record.num_tokens(), patch = record.patch_size();
  const std::vector<int32_t> tokens(record.tokens.begin(), record.tokens.end());
  tensors["tokens"] = ViewOf(tokens, TensorType::kI32, {rows});
  tensors["importance"] = ViewOf(record.importance, TensorType::kF32, {record.grid, record.grid});
  for (const LevelFeatures& level : record.levels) {
    const std::string name = absl::StrCat("level.", level.level);
    tensors[name] = ViewOf(level.values, TensorType::kF32, {rows, level.width});
    tensors[name + ".mean"] = ViewOf(level.mean, TensorType::kF32, {rows});
    tensors[name + ".inverse_deviation"] = ViewOf(level.inverse_deviation, TensorType::kF32, {rows});
  }
  if (!record.pixels.empty()) tensors["pixels"] = ViewOf(record.pixels, TensorType::kU8, {rows - 1, patch, patch, 3});
  std::vector<std::vector<int32_t>> masks;
  masks.reserve(record.masks.size());
  for (size_t i = 0; i < record.masks.size(); ++i) {
    masks.emplace_back(record.masks[i].begin(), record.masks[i].end());
    tensors[absl::StrCat("mask.", i)] = ViewOf(masks.back(), TensorType::kI32, {static_cast<int64_t>(masks.back().size())});
  }
  const ViewGeometry& g = record.geometry;
  return WriteSafetensors(path, tensors,
                          {{"image_key", key.image.Hex()},
                           {"view_seed", absl::StrCat(key.view_seed)},
                           {"image_size", absl::StrCat(g.image_width, "x", g.image_height)},
                           {"crop", absl::StrCat(g.box.x, ",", g.box.y, ",", g.box.width, ",", g.box.height)},
                           {"flipped", g.flipped ? "true" : "false"},
                           {"view_digest", absl::StrFormat("%016x", record.view_digest)}});
}

absl::Status RunGet(const GetFlags& flags) {
  RecordKey key{{}, flags.view_seed};
  if (flags.key.empty() == flags.image.empty()) {
    return absl::InvalidArgumentError("give either --key (32 hexadecimal digits) or --image (a file, whose key is computed)");
  }
  if (!flags.image.empty()) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::string encoded, ReadFile(flags.image));
    key.image = ImageKey::OfEncodedImage(AsBytes(encoded));
  } else {
    AFTERIMAGE_ASSIGN_OR_RETURN(key.image, ImageKey::FromHex(flags.key));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet selected, OpenSelectedSet(flags));
  Selection selection;
  selection.levels = flags.levels;
  std::sort(selection.levels.begin(), selection.levels.end());
  selection.encoding = flags.encoding;
  AFTERIMAGE_ASSIGN_OR_RETURN(const PinnedBytes bytes, ReadOne(*selected.set.store, key, selection));
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock block,
                              FeatureBlock::Parse(bytes.bytes, selected.set.store->profile()));
  AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureRecord record, block.ToRecord());

  const ViewGeometry& g = record.geometry;
  std::cout << absl::StrFormat("record     %s\n", key.ToString());
  std::cout << absl::StrFormat("  digest   %s, %d bytes as read, codec %s\n", block.record_digest().Hex(), bytes.bytes.size(),
                               CodecName(block.codec()));
  std::cout << absl::StrFormat("  view     %d px from box %d,%d %dx%d of %dx%d%s, digest %016x\n", record.view_size, g.box.x, g.box.y,
                               g.box.width, g.box.height, g.image_width, g.image_height, g.flipped ? ", flipped" : "",
                               record.view_digest);
  std::cout << absl::StrFormat("  tokens   %d of %d, %d stored masks, pixels %s\n", record.num_tokens(), 1 + record.grid * record.grid,
                               record.masks.size(), record.pixels.empty() ? "not stored" : "stored");
  for (const LevelFeatures& level : record.levels) {
    std::cout << absl::StrFormat("  level %-2d %d x %d; class token starts", level.level, record.num_tokens(), level.width);
    for (uint32_t i = 0; i < std::min(4u, level.width); ++i) std::cout << absl::StrFormat(" %.4f", level.values[i]);
    std::cout << "\n";
  }
  if (flags.out.empty()) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(WriteRecord(flags.out, key, record));
  std::cout << "written    " << flags.out << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddGetCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<GetFlags>();
  CLI::App* command = app.add_subcommand("get", "one record: printed, and with --out written as safetensors");
  AddSetFlags(*command, *flags);
  command->add_option("--key", flags->key, "image key, 32 hexadecimal digits");
  command->add_option("--image", flags->image, "image file; its key is computed");
  command->add_option("--view-seed", flags->view_seed, "view seed")->capture_default_str();
  command->add_option("--levels", flags->levels, "levels to read (default: all that are stored)")->delimiter(',');
  AddWireEncodingFlag(*command, flags->encoding, "Options",
                      "how values travel, and so what is read of them (stored)");
  command->add_option("--out", flags->out, "safetensors file: level.N [tokens, channels], importance, tokens, pixels");
  command->callback([flags, &run] { run = [flags] { return RunGet(*flags); }; });
}

}  // namespace afterimage::cli
