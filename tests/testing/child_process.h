// A program in a process of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace afterimage::testing {

// How a program ended, and what it said.
struct Finished {
  int status = -1;  // exit status, or 128 + the signal that ended it; -1 = it did not end in time
  std::string out;
  std::string err;
  std::string Text() const { return out + err; }
};

// Starts at once; killed when the object goes, or when the thread that made it ends. What it prints is kept
// in memory and can be read at any time. One thread at a time.
class ChildProcess {
 public:
  // argv[0] is the path of the program. Its environment is ours and OMP_WAIT_POLICY=PASSIVE.
  explicit ChildProcess(std::vector<std::string> argv);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  void Signal(int signal) const;
  // Until the program has a handler of its own for `signal`; false when it ended, or at `timeout`.
  bool WaitUntilItCatches(int signal, absl::Duration timeout = absl::Seconds(60));
  // Waits for the end. After `timeout` the test fails with what was printed, and the program is killed.
  Finished Wait(absl::Duration timeout = absl::Seconds(60));
  // Until standard output or error holds `text`; false when the program ended without it, or at `timeout`.
  bool WaitForText(absl::string_view text, absl::Duration timeout = absl::Seconds(60));
  std::string Out() const;
  std::string Err() const;
  // Bytes of a line of /proc/PID/status: "VmHWM:" is the most that was ever resident, "RssAnon:" what is now,
  // without pages of files.
  uint64_t ResidentBytes(absl::string_view field) const;

 private:
  // Reaps the process if it has ended, or, with `block`, once it has.
  bool Reap(bool block);

  int out_ = -1;
  int err_ = -1;
  pid_t pid_ = -1;
  bool running_ = false;
  int status_ = -1;
};

// Starts the program, waits for its end.
Finished RunProgram(std::vector<std::string> argv, absl::Duration timeout = absl::Seconds(60));

}  // namespace afterimage::testing
