// What a program says about a command line that it does not understand.
#pragma once

#include <string>
#include <vector>

namespace afterimage {

// The exit status of a program that was started in a way that it does not understand, as shells have it.
inline constexpr int kUsageExitStatus = 2;

// Of `names` the one that `word` is most likely a misspelling of; empty when none is near.
std::string NearestName(const std::string& word, const std::vector<std::string>& names);

// "<command>: unknown flag "<word>"; did you mean "--cache"?": for a `word` that is no flag or subcommand of
// `command`. The subcommands that there are, if any, are listed.
std::string UnknownWordText(const std::string& command, const std::string& word,
                            const std::vector<std::string>& flags,
                            const std::vector<std::string>& subcommands);

// The library says of a flag whose value only has a lower bound that it is not in range 0.000000 to 1797693…, the
// largest double: "--batch-size: 0 is too small" instead. Other texts stay as they are.
std::string PlainRangeText(std::string text);

// For CLI::App::failure_message, as UsageError<CLI::App, CLI::Error>. An unknown word comes before what is
// missing: who writes --cahce has not forgotten --cache. A template, since core does not know the library.
template <typename App, typename Error>
std::string UsageError(const App* app, const Error& error) {
  std::string command = app->get_name();
  const App* inner = app;  // the subcommand in which the parser was
  while (!inner->get_subcommands().empty()) {
    inner = inner->get_subcommands().back();
    command += " " + inner->get_name();
  }
  std::string text = command + ": " + PlainRangeText(error.what());
  if (const std::vector<std::string> unknown = app->remaining(/*recurse=*/true); !unknown.empty()) {
    std::vector<std::string> flags, subcommands;
    for (const auto* option : inner->get_options()) flags.push_back("--" + option->get_single_name());
    for (const App* subcommand : inner->get_subcommands([](const App*) { return true; })) {
      subcommands.push_back(subcommand->get_name());
    }
    text = UnknownWordText(command, unknown.front(), flags, subcommands);
  }
  return text + "\nRun `" + command + " --help` for its flags.\n";
}

}  // namespace afterimage
