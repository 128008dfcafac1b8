// The binary afterimage-server in a process of its own.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/base/files.h"

namespace afterimage::testing {

class ServerProcess {
 public:
  // Serves `folder`/cache, made if need be, at a free port unless `arguments` say otherwise; text goes to
  // `folder`/output.
  static std::vector<std::string> Arguments(const std::filesystem::path& folder,
                                            const std::string& listen = "127.0.0.1:0") {
    return {"--cache",     (folder / "cache").string(), "--create", "--listen", listen,
            "--port-file", (folder / "port").string()};
  }
  ServerProcess(const std::filesystem::path& folder, std::vector<std::string> arguments)
      : output_(folder / "output"), port_file_(folder / "port") {
    std::filesystem::remove(port_file_);
    arguments.insert(arguments.begin(), AFTERIMAGE_BINARY_DIR "/bin/afterimage-server");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    const int file = open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~ServerProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Wait();
  }
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  void Signal(int signal) const { kill(pid_, signal); }
  // The exit status, or 128 + signal.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // What --port-file says once the server is ready (0 for a socket file); -1 after ten seconds.
  int WaitUntilReady() const {
    for (int i = 0; i < 1000; ++i) {
      if (const absl::StatusOr<std::string> text = ReadFile(port_file_); text.ok())
        return std::atoi(text->c_str());
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return -1;
  }
  std::string Output() const {
    const absl::StatusOr<std::string> text = ReadFile(output_);
    return text.ok() ? *text : text.status().ToString();
  }
  // Bytes of /proc/PID/status: VmHWM: the most that was ever resident; RssAnon: what is now, without pages of
  // files.
  uint64_t ResidentBytes(const std::string& field) const {
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind(field, 0) == 0) return std::strtoull(line.c_str() + field.size(), nullptr, 10) * 1024;
    }
    return 0;
  }

 private:
  const std::filesystem::path output_;
  const std::filesystem::path port_file_;
  pid_t pid_ = -1;
};

}  // namespace afterimage::testing
