// Memory of received blocks, used again.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/base/bytes.h"

namespace afterimage {

// Blocks of hundreds of kilobytes come by the thousand a second; returning each to the system and faulting
// its pages in again would cost as much as copying it. Thread-safe. Blocks may outlive the pool's last user.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  // Keeps at most so many bytes of unused memory.
  explicit BlockPool(size_t max_idle_bytes) : max_idle_bytes_(max_idle_bytes) {}

  // An empty string, with memory if there is some.
  std::string Take() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return {};
    std::string text = std::move(idle_.back());
    idle_.pop_back();
    idle_bytes_ -= text.capacity();
    return text;
  }

  // `text` as immutable bytes whose memory comes back when the last owner has gone.
  PinnedBytes Pin(std::string text) {
    auto held = std::shared_ptr<std::string>(new std::string(std::move(text)),
                                             [pool = shared_from_this()](std::string* done) {
                                               pool->GiveBack(std::move(*done));
                                               delete done;
                                             });
    const ByteSpan bytes = AsBytes(*held);
    return {bytes, std::move(held)};
  }

 private:
  void GiveBack(std::string text) {
    // A small block in a large one's memory would make the pool grow beyond what is in use.
    const bool is_roomy = text.capacity() > 2 * text.size();
    std::lock_guard lock(mutex_);
    if (is_roomy || idle_bytes_ + text.capacity() > max_idle_bytes_) return;
    idle_bytes_ += text.capacity();
    text.clear();
    idle_.push_back(std::move(text));
  }

  const size_t max_idle_bytes_;
  std::mutex mutex_;
  std::vector<std::string> idle_;
  size_t idle_bytes_ = 0;
};

}  // namespace afterimage
