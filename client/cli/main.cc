// afterimage: looks into a cache.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <vector>

#include "client/cli/command.h"
#include "core/base/stop_signal.h"

int main(int argc, char** argv) {
  afterimage::InstallStopSignalHandlers();
  CLI::App app("Looks into a cache of teacher features.", "afterimage");
  app.require_subcommand(1);
  app.set_version_flag("--version", AFTERIMAGE_VERSION);
  app.footer("Commands tell their flags: afterimage COMMAND --help");
  afterimage::cli::Runner run;
  afterimage::cli::AddInfoCommand(app, run);
  afterimage::cli::AddGetCommand(app, run);
  afterimage::cli::AddKeysCommand(app, run);
  afterimage::cli::AddPictureCommand(app, run);
  afterimage::cli::AddVerifyCommand(app, run);
  afterimage::cli::AddNamesCommand(app, run);
  const std::vector<CLI::App*> commands = app.get_subcommands({});
  if (argc > 1 && argv[1][0] != '-' &&
      std::none_of(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->check_name(argv[1]); })) {
    std::cerr << "afterimage: unknown command '" << argv[1] << "'; there are";
    for (const CLI::App* command : commands) std::cerr << " " << command->get_name();
    std::cerr << std::endl;
    return 2;
  }
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::cerr << "afterimage: " << status.message() << std::endl;
  return absl::IsCancelled(status) ? afterimage::kStoppedExitStatus : 1;
}
