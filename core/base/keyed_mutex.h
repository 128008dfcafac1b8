// A mutex for each key: what takes long for one of them keeps nobody waiting who wants another.
#pragma once

#include <map>
#include <mutex>

namespace afterimage {

// Holds memory only for keys that are locked or waited for. Thread-safe.
template <typename Key>
class KeyedMutex {
  struct Entry {
    std::mutex mutex;
    int num_users = 0;  // that hold it or wait for it; under mutex_
  };

 public:
  // Holds a key as long as it lives, which must be shorter than the KeyedMutex does.
  class [[nodiscard]] Lock {
   public:
    Lock(KeyedMutex& owner, const Key& key) : owner_(owner), entry_(owner.Enter(key)) {
      entry_->second.mutex.lock();
    }
    ~Lock() {
      entry_->second.mutex.unlock();
      owner_.Leave(entry_);
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    KeyedMutex& owner_;
    const typename std::map<Key, Entry>::iterator entry_;
  };

  size_t num_keys() {
    std::lock_guard lock(mutex_);
    return entries_.size();
  }

 private:
  typename std::map<Key, Entry>::iterator Enter(const Key& key) {
    std::lock_guard lock(mutex_);
    const auto entry = entries_.try_emplace(key).first;
    ++entry->second.num_users;
    return entry;
  }
  void Leave(typename std::map<Key, Entry>::iterator entry) {
    std::lock_guard lock(mutex_);
    if (--entry->second.num_users == 0) entries_.erase(entry);
  }

  std::mutex mutex_;
  std::map<Key, Entry> entries_;
};

}  // namespace afterimage
