// A small font of fixed width for the printable ASCII characters.
#pragma once

namespace afterimage {

inline constexpr int kGlyphWidth = 5;
inline constexpr int kGlyphHeight = 7;

// Whether the pixel (column, row) of the glyph is set; what is not printable ASCII looks like '?'.
bool GlyphPixel(char character, int column, int row);

}  // namespace afterimage
