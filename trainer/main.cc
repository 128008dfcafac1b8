// afterimage-train: makes teachers and students.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/base/allocator.h"
#include "core/base/openmp.h"
#include "core/base/stop_signal.h"
#include "core/base/usage_error.h"
#include "core/base/version.h"
#include "trainer/cli/command.h"

namespace afterimage::trainer {

int FailCommand(const absl::Status& status) {
  std::fprintf(stderr, "afterimage-train: %s\n", std::string(status.message()).c_str());
  if (absl::IsCancelled(status)) return StoppedExitStatus();
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

namespace {

int Main(int argc, char** argv) {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // cuBLAS gives equal results only with a fixed workspace
  UsePassiveOpenMp(argv);
  KeepFreedMemory();
  CLI::App app(
      "Trains teachers and students. `afterimage-train COMMAND --help` lists the flags of a command.",
      "afterimage-train");
  app.require_subcommand(1);
  app.failure_message(UsageError<CLI::App, CLI::Error>);
  app.set_version_flag("--version", Version());
  CommandBody chosen;
  AddPretrainCommand(app, chosen);
  AddRecipesCommand(app, chosen);
  AddValidateCommand(app, chosen);
  AddFinetuneCommand(app, chosen);
  AddProbeCommand(app, chosen);
  AddKnnCommand(app, chosen);
  AddEvaluateCommand(app, chosen);
  AddSuperviseCommand(app, chosen);
  AddExportCommand(app, chosen);
  AddForwardCommand(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageExitStatus;
  }
  return chosen();
}

}  // namespace
}  // namespace afterimage::trainer

int main(int argc, char** argv) { return afterimage::trainer::Main(argc, argv); }
