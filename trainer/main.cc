// afterimage-train: makes teachers and students.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/base/openmp.h"
#include "core/base/stop_signal.h"
#include "trainer/cli/command.h"

namespace afterimage::trainer {

int FailCommand(const absl::Status& status) {
  std::fprintf(stderr, "afterimage-train: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? 2 : 1;
}

namespace {

int Main(int argc, char** argv) {
  ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // cuBLAS gives equal results only with a fixed workspace
  UsePassiveOpenMp(argv);
  InstallStopSignalHandlers();
  CLI::App app(
      "Trains teachers and students. `afterimage-train COMMAND --help` lists the flags of a command.",
      "afterimage-train");
  app.require_subcommand(1);
  CommandBody chosen;
  AddPretrainCommand(app, chosen);
  AddSuperviseCommand(app, chosen);
  AddKnnCommand(app, chosen);
  AddExportCommand(app, chosen);
  if (argc > 1 && argv[1][0] != '-') {
    std::string known;
    bool found = false;
    for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
      found = found || command->get_name() == argv[1];
      known += " " + command->get_name();
    }
    if (!found) {
      std::fprintf(stderr, "afterimage-train: unknown command \"%s\"; there are:%s\n", argv[1],
                   known.c_str());
      return 2;
    }
  }
  CLI11_PARSE(app, argc, argv);
  return chosen();
}

}  // namespace
}  // namespace afterimage::trainer

int main(int argc, char** argv) { return afterimage::trainer::Main(argc, argv); }
