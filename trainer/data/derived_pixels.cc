#include "trainer/data/derived_pixels.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {

absl::Status DerivePixels(const ImageIndex& images, const ViewSpec& spec, const RecordKey& key,
                          const FeatureBlock& block, std::span<const uint16_t> patches,
                          std::span<uint8_t> target) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const RgbImage image, images.ReadImage(key.image));
  AFTERIMAGE_ASSIGN_OR_RETURN(const View view, MakeView(image, spec, block.geometry()));
  if (view.digest != block.view_digest()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the view made from ", images.NameOf(key.image), " has digest ", absl::Hex(view.digest),
                     ", the one that the teacher saw ", absl::Hex(block.view_digest()),
                     ": decoding or resizing differs here from where the features were computed (view spec ",
                     spec.ToCanonical().dump(), "); use a set with pixels"));
  }
  const std::vector<uint8_t> rows = ToPatchMajor(view.pixels, block.grid());
  const size_t row_bytes = rows.size() / (size_t{block.grid()} * block.grid());
  for (size_t i = 0; i < patches.size(); ++i) {
    std::memcpy(target.data() + i * row_bytes, rows.data() + patches[i] * row_bytes, row_bytes);
  }
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
