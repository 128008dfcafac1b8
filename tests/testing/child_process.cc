#include "tests/testing/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace afterimage::testing {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(5);

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Through the descriptor that the child writes to as well: without moving its position.
std::string ReadAll(int descriptor) {
  std::string text;
  char buffer[4096];
  ssize_t count = 0;
  while ((count = pread(descriptor, buffer, sizeof(buffer), static_cast<off_t>(text.size()))) > 0) {
    text.append(buffer, static_cast<size_t>(count));
  }
  return text;
}

}  // namespace

ChildProcess::ChildProcess(std::vector<std::string> argv)
    : out_(memfd_create("stdout", MFD_CLOEXEC)), err_(memfd_create("stderr", MFD_CLOEXEC)) {
  // All that allocates comes before fork: other threads of this process may hold malloc's lock.
  std::vector<std::string> environment = {"OMP_WAIT_POLICY=PASSIVE"};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::string(*variable).rfind("OMP_WAIT_POLICY=", 0) != 0) environment.emplace_back(*variable);
  }
  const std::vector<char*> arguments = Pointers(argv);
  const std::vector<char*> variables = Pointers(environment);
  pid_ = fork();
  if (pid_ < 0) {
    ADD_FAILURE() << "cannot fork";
    return;
  }
  running_ = true;
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
  dup2(out_, STDOUT_FILENO);
  dup2(err_, STDERR_FILENO);
  execve(arguments[0], arguments.data(), variables.data());
  _exit(127);
}

ChildProcess::~ChildProcess() {
  if (running_) {
    kill(pid_, SIGKILL);
    Reap(/*block=*/true);
  }
  close(out_);
  close(err_);
}

bool ChildProcess::Reap(bool block) {
  int status = 0;
  if (!running_) return true;
  if (waitpid(pid_, &status, block ? 0 : WNOHANG) != pid_) return false;
  running_ = false;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool ChildProcess::Running() { return !Reap(/*block=*/false); }

void ChildProcess::Signal(int signal) const {
  if (running_) kill(pid_, signal);
}

bool ChildProcess::WaitUntilItCatches(int signal, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (; Running() && absl::Now() < deadline; absl::SleepFor(kLook)) {
    std::ifstream status(absl::StrCat("/proc/", pid_, "/status"));
    for (std::string line; std::getline(status, line);) {
      // A bit for each signal, the lowest for signal 1.
      if (line.starts_with("SigCgt:") && (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0) return true;
    }
  }
  return false;
}

Finished ChildProcess::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (Running() && absl::Now() < deadline) absl::SleepFor(kLook);
  if (running_) {
    ADD_FAILURE() << "still running after " << absl::FormatDuration(timeout) << "; it printed:\n"
                  << Out() << Err();
    kill(pid_, SIGKILL);
    Reap(/*block=*/true);
    status_ = -1;
  }
  return {status_, Out(), Err()};
}

bool ChildProcess::WaitForText(absl::string_view text, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    const bool running = Running();
    if (absl::string_view(Out()).find(text) != absl::string_view::npos ||
        absl::string_view(Err()).find(text) != absl::string_view::npos) {
      return true;
    }
    if (!running || absl::Now() > deadline) return false;
    absl::SleepFor(kLook);
  }
}

std::string ChildProcess::Out() const { return ReadAll(out_); }
std::string ChildProcess::Err() const { return ReadAll(err_); }

uint64_t ChildProcess::ResidentBytes(absl::string_view field) const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, field.size(), field.data(), field.size()) == 0) {
      return std::strtoull(line.c_str() + field.size(), nullptr, 10) * 1024;
    }
  }
  return 0;
}

Finished RunProgram(std::vector<std::string> argv, absl::Duration timeout) {
  return ChildProcess(std::move(argv)).Wait(timeout);
}

}  // namespace afterimage::testing
