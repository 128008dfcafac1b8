#include "core/identity/image_key.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"

namespace afterimage {

std::string ImageKey::Hex() const { return HexEncode(bytes); }

absl::StatusOr<ImageKey> ImageKey::FromHex(absl::string_view hex) {
  ImageKey key;
  absl::StatusOr<std::string> decoded = HexDecode(hex);
  if (!decoded.ok() || decoded->size() != key.bytes.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("an image key is ", 2 * key.bytes.size(), " hexadecimal digits, not \"", hex, "\""));
  }
  std::copy(decoded->begin(), decoded->end(), key.bytes.begin());
  return key;
}

ImageKey ImageKey::OfEncodedImage(ByteSpan encoded) {
  const Digest256 digest = Sha256(encoded);
  ImageKey key;
  std::copy_n(digest.bytes.begin(), key.bytes.size(), key.bytes.begin());
  return key;
}

std::string RecordKey::ToString() const { return absl::StrCat(image.Hex(), "/", view_seed); }

}  // namespace afterimage
