#include "client/flags/hedge_flag.h"

#include "absl/strings/numbers.h"

namespace afterimage {

void AddHedgeFlag(CLI::App& app, std::optional<absl::Duration>& hedge_after, const std::string& group) {
  app.add_option_function<std::string>(
         "--hedge-after",
         [&hedge_after](const std::string& text) {
           double ms = 0;
           if (text != "off" && (!absl::SimpleAtod(text, &ms) || !(ms >= 0 && ms <= 1e9))) {
             throw CLI::ValidationError("--hedge-after", text + ": milliseconds expected, or off");
           }
           hedge_after = ms == 0 ? absl::InfiniteDuration() : absl::Milliseconds(ms);
         },
         "of several servers: milliseconds after which a record that one of them keeps its reader waiting "
         "for is read from another (250; where others are waited for too, four times as long as usual); 0 "
         "or off: never")
      ->type_name("MS|off")
      ->group(group);
}

}  // namespace afterimage
