// Texts from one thread, printed by another.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/progress.h"

namespace afterimage::trainer {

// Progress belongs to one thread: what the feed's thread has to say waits here for the loop's. Thread-safe.
class MessageBox {
 public:
  void Put(const std::string& text) {
    std::lock_guard lock(mutex_);
    texts_.push_back(text);
  }
  // What has come since the last call.
  std::vector<std::string> Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(texts_, {});
  }
  void Print(Progress& progress) {
    for (const std::string& text : Take()) progress.Message(text);
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

}  // namespace afterimage::trainer
