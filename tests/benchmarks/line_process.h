// Another program that a benchmark gives one line at a time, and that answers each with one.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace afterimage::benchmarks {

// Its standard error is ours. Killed when the object goes. Not thread-safe.
class LineProcess {
 public:
  // Starts argv[0], found as a shell would, and waits for a line that begins with "ready"; ends the program
  // when none comes.
  explicit LineProcess(const std::vector<std::string>& argv);
  ~LineProcess();
  LineProcess(const LineProcess&) = delete;
  LineProcess& operator=(const LineProcess&) = delete;

  pid_t pid() const { return pid_; }
  // What followed "ready".
  const std::string& greeting() const { return greeting_; }
  // Sends a line, waits for one. Ends the program when none comes.
  std::string Ask(const std::string& line);

 private:
  std::string ReadLine();

  const std::string name_;
  pid_t pid_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
  std::string greeting_;
};

// User and system seconds of a process so far, all its threads; of 10 ms each.
double CpuSecondsOf(pid_t pid);
// "VmHWM:" and other lines of /proc/PID/status in MiB.
double StatusMebibytes(pid_t pid, const std::string& field);

}  // namespace afterimage::benchmarks
