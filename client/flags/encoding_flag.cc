#include "client/flags/encoding_flag.h"

namespace afterimage {

void AddWireEncodingFlag(CLI::App& app, Selection::Encoding& encoding, const std::string& group,
                         const std::string& description) {
  app.add_option_function<std::string>(
         "--wire-encoding",
         [&encoding](const std::string& name) { encoding = ParseEncoding(name).value(); }, description)
      ->check(CLI::IsMember(EncodingNames()))
      ->group(group);
}

}  // namespace afterimage
