// Says what is waited for when a server keeps its client waiting.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"

namespace afterimage {

// Its thread begins with the first wait. Thread-safe.
class WaitTeller {
 public:
  // Alive while something is waited for. One thread at a time.
  class Wait {
   public:
    // `what`: "an answer of the server at grpc://a:1".
    Wait(WaitTeller& teller, std::string what);
    ~Wait();
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

   private:
    friend class WaitTeller;
    WaitTeller& teller_;
    const std::string what_;
    const absl::Time since_;
    absl::Time next_message_;  // under the teller's mutex
    std::list<Wait*>::iterator place_;
  };

  // `message` is called from the thread, for each wait that has taken `interval`, and again after each
  // further one.
  WaitTeller(absl::Duration interval, std::function<void(const std::string&)> message);
  ~WaitTeller();

 private:
  void Work();  // the thread

  const absl::Duration interval_;
  const std::function<void(const std::string&)> message_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Wait*> waits_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace afterimage
