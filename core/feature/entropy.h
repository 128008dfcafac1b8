// The entropy coder of planes: Huffman codes of single bytes, as Zstandard's frames hold them. Private to
// core/feature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"

namespace afterimage {

// One frame with its content size, no checksum (sections have one), literals always Huffman-coded where that
// saves anything. Nothing is searched for repeats: features have none, and a search makes them larger and
// slower (docs/codecs.md). The frame is appended to `target`.
void AppendHuffmanFrame(ByteSpan bytes, std::vector<uint8_t>& target);

// Fills `target`, whose size is what the frame must hold. Nothing is allocated by what the frame says.
// DataLoss: no such frame, another size, bytes after it.
absl::Status ReadHuffmanFrame(ByteSpan frame, std::span<uint8_t> target);

}  // namespace afterimage
