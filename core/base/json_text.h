// JSON for people and their scripts.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace afterimage {

// On one line, or indented by so much. Bytes that are no UTF-8, as the name of a file may have, become
// U+FFFD: nlohmann's own dump() would throw. Not for text that is hashed, or read back to find that file.
inline std::string JsonText(const nlohmann::json& json, int indent = -1) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

}  // namespace afterimage
