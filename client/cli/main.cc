// afterimage: looks into a cache, and at the runs that read it.
#include <CLI/CLI.hpp>
#include <iostream>

#include "client/cli/command.h"
#include "core/base/stop_signal.h"
#include "core/base/usage_error.h"
#include "core/base/version.h"

int main(int argc, char** argv) {
  CLI::App app("Looks into a cache of teacher features.", "afterimage");
  app.require_subcommand(1);
  app.failure_message(afterimage::UsageError<CLI::App, CLI::Error>);
  app.set_version_flag("--version", afterimage::Version());
  app.footer("Commands tell their flags: afterimage COMMAND --help");
  afterimage::cli::Runner run;
  afterimage::cli::AddInfoCommand(app, run);
  afterimage::cli::AddGetCommand(app, run);
  afterimage::cli::AddKeysCommand(app, run);
  afterimage::cli::AddPictureCommand(app, run);
  afterimage::cli::AddVerifyCommand(app, run);
  afterimage::cli::AddNamesCommand(app, run);
  afterimage::cli::AddCalibrateCommand(app, run);
  afterimage::cli::AddCodecBenchCommand(app, run);
  afterimage::cli::AddCompareCommand(app, run);
  afterimage::cli::AddRecodeCommand(app, run);
  afterimage::cli::AddStreamBenchCommand(app, run);
  afterimage::cli::AddWhySlowCommand(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : afterimage::kUsageExitStatus;
  }
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::cerr << "afterimage: " << status.message() << std::endl;
  return absl::IsCancelled(status) ? afterimage::StoppedExitStatus() : 1;
}
