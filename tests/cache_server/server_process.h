// The binary afterimage-server in a process of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/files.h"
#include "tests/testing/child_process.h"

namespace afterimage::testing {

class ServerProcess {
 public:
  // Serves `folder`/cache, made if need be, at a free port unless `arguments` say otherwise.
  static std::vector<std::string> Arguments(const std::filesystem::path& folder,
                                            const std::string& listen = "127.0.0.1:0") {
    return {"--cache",     (folder / "cache").string(), "--create", "--listen", listen,
            "--port-file", (folder / "port").string()};
  }
  ServerProcess(const std::filesystem::path& folder, std::vector<std::string> arguments)
      : port_file_(folder / "port"), process_(Started(port_file_, std::move(arguments))) {}

  void Signal(int signal) const { process_.Signal(signal); }
  // The exit status, or 128 + signal.
  int Wait() { return process_.Wait().status; }
  // What --port-file says once the server is ready (0 for a socket file); -1 after ten seconds.
  int WaitUntilReady() const {
    for (int i = 0; i < 1000; ++i) {
      if (const absl::StatusOr<std::string> text = ReadFile(port_file_); text.ok())
        return std::atoi(text->c_str());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return -1;
  }
  std::string Output() const { return process_.Out() + process_.Err(); }
  uint64_t ResidentBytes(const std::string& field) const { return process_.ResidentBytes(field); }

 private:
  // The command line, once the port file of a server that was killed is gone.
  static std::vector<std::string> Started(const std::filesystem::path& port_file,
                                          std::vector<std::string> arguments) {
    std::filesystem::remove(port_file);
    arguments.insert(arguments.begin(), AFTERIMAGE_BINARY_DIR "/bin/afterimage-server");
    return arguments;
  }

  const std::filesystem::path port_file_;
  ChildProcess process_;
};

}  // namespace afterimage::testing
