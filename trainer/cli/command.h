// What the subcommands share.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "absl/status/status.h"

namespace afterimage::trainer {

// A subcommand is registered with its flags and says what to run once they are parsed. The int is the exit
// status of a command that ended in good order.
using CommandBody = std::function<int()>;

void AddFinetuneCommand(CLI::App& app, CommandBody& chosen);
void AddProbeCommand(CLI::App& app, CommandBody& chosen);
void AddEvaluateCommand(CLI::App& app, CommandBody& chosen);
void AddSuperviseCommand(CLI::App& app, CommandBody& chosen);
void AddPretrainCommand(CLI::App& app, CommandBody& chosen);
void AddValidateCommand(CLI::App& app, CommandBody& chosen);
void AddRecipesCommand(CLI::App& app, CommandBody& chosen);
void AddKnnCommand(CLI::App& app, CommandBody& chosen);
void AddExportCommand(CLI::App& app, CommandBody& chosen);
void AddForwardCommand(CLI::App& app, CommandBody& chosen);

// Prints "afterimage-train: <message>" to stderr; 1, or 2 for an argument that cannot be right, or
// StoppedExitStatus() for a command that was cancelled.
int FailCommand(const absl::Status& status);

}  // namespace afterimage::trainer
