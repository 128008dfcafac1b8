// The one thing that matters of EXIF: which way up a picture is.
#pragma once

#include "core/base/bytes.h"
#include "core/image/rgb_image.h"

namespace afterimage::image_internal {

// The orientation tag (0x0112) of the first directory of a TIFF structure ("II*\0…" or "MM\0*…"); an
// "Exif\0\0" before it is skipped. 1 (upright) where there is none, or where the structure is damaged: a bad
// tag is no reason to refuse good pixels.
int ExifOrientation(ByteSpan exif);

// The picture the right way up: orientations 1-8 of EXIF 2.3 (5-8 swap the sides). Others leave it as it is.
RgbImage ApplyOrientation(RgbImage image, int orientation);

}  // namespace afterimage::image_internal
