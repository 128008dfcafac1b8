#include "core/base/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace afterimage {
namespace {

// Lock-free on every platform we build for, hence usable in a signal handler.
std::atomic<int> stop_signal{0};  // the first that came; 0 = none
static_assert(std::atomic<int>::is_always_lock_free);

constexpr int kSignalBase = 128;  // of exit statuses

void HandleStopSignal(int signal) {
  int none = 0;
  if (!stop_signal.compare_exchange_strong(none, signal)) _exit(kSignalBase + signal);
}

}  // namespace

void InstallStopSignalHandlers() {
  struct sigaction action = {};
  action.sa_handler = HandleStopSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags =
      SA_RESTART;  // reads and writes under way go on; the command looks at the flag between them
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

bool StopRequested() { return stop_signal.load() != 0; }

void RequestStop() {
  int none = 0;
  stop_signal.compare_exchange_strong(none, SIGINT);
}

int StoppedExitStatus() {
  const int signal = stop_signal.load();
  return kSignalBase + (signal != 0 ? signal : SIGINT);
}

bool WaitForStop(int milliseconds) {
  // A handler cannot notify a condition variable; a look every 20 ms is prompt for people and costs nothing.
  constexpr std::chrono::milliseconds kLook(20);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (!StopRequested()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return false;
    std::this_thread::sleep_until(std::min(now + kLook, deadline));
  }
  return true;
}

void ResetStopForTest() { stop_signal.store(0); }

}  // namespace afterimage
