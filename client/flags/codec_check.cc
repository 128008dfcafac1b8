#include "client/flags/codec_check.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/feature/codec.h"

namespace afterimage {

CLI::Validator IsCodecName() {
  return CLI::Validator(
      [](const std::string& name) { return std::string(ParseCodec(name).status().message()); },
      absl::StrCat("{", absl::StrJoin(CodecNames(), ","), ",ezq:N}"));
}

}  // namespace afterimage
