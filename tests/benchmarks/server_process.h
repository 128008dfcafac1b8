// afterimage-server in a process of its own.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/benchmarks/support.h"
#include "tests/testing/child_process.h"

namespace afterimage::benchmarks {

// Serves a cache folder until the object goes. Ends the program when it does not start.
class ServerProcess {
 public:
  ServerProcess(const std::string& cache, const std::string& listen,
                const std::vector<std::string>& flags = {}) {
    const std::string port_file = cache + ".port." + std::to_string(next_++);
    std::filesystem::remove(port_file);
    std::vector<std::string> argv = {AFTERIMAGE_BINARY_DIR "/bin/afterimage-server", "--cache", cache, "--listen",
                                     listen, "--port-file", port_file, "--log=none"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    process_ = std::make_unique<testing::ChildProcess>(argv);
    for (int i = 0; i < 10'000 && !std::filesystem::exists(port_file); ++i) usleep(1'000);
    if (!std::filesystem::exists(port_file)) Require(absl::UnavailableError(process_->Err()));
    std::ifstream(port_file) >> port_;
  }

  pid_t pid() const { return process_->pid(); }
  int port() const { return port_; }  // 0 of a unix socket

 private:
  inline static int next_ = 0;
  std::unique_ptr<testing::ChildProcess> process_;
  int port_ = 0;
};

}  // namespace afterimage::benchmarks
