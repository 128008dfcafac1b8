#include "tests/benchmarks/line_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "absl/status/status.h"
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {

LineProcess::LineProcess(const std::vector<std::string>& argv) : name_(argv.front()) {
  int to[2];
  int from[2];
  if (pipe(to) != 0 || pipe(from) != 0) Require(absl::ResourceExhaustedError("no pipe"));
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(to[0], STDIN_FILENO);
    dup2(from[1], STDOUT_FILENO);
    for (const int fd : {to[0], to[1], from[0], from[1]}) close(fd);
    std::vector<char*> pointers;
    for (const std::string& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  to_ = fdopen(to[1], "w");
  from_ = fdopen(from[0], "r");
  const std::string first = ReadLine();
  if (!first.starts_with("ready")) Require(absl::InternalError(name_ + " said: " + first));
  greeting_ = first.size() > 6 ? first.substr(6) : "";
}

LineProcess::~LineProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  std::fclose(to_);
  std::fclose(from_);
}

std::string LineProcess::Ask(const std::string& line) {
  std::fputs((line + "\n").c_str(), to_);
  std::fflush(to_);
  return ReadLine();
}

std::string LineProcess::ReadLine() {
  char buffer[4096];
  if (std::fgets(buffer, sizeof(buffer), from_) == nullptr)
    Require(absl::UnavailableError(name_ + " ended without an answer"));
  std::string line(buffer);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  return line;
}

double CpuSecondsOf(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  line.erase(0, line.rfind(')') + 1);  // the name may hold anything
  double ticks = 0;
  char* at = line.data();
  // The fields after the name: state, then numbers; utime and stime are the 12th and 13th.
  for (int field = 1; field <= 13; ++field) {
    while (*at == ' ') ++at;
    if (field >= 12) ticks += std::strtod(at, nullptr);
    while (*at != ' ' && *at != '\0') ++at;
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double StatusMebibytes(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::atof(line.c_str() + field.size()) / 1024;
  }
  return 0;
}

}  // namespace afterimage::benchmarks
