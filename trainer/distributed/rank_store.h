// A few keys and values that all ranks of a run see.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace afterimage::trainer {

// Where ranks find each other, and leave word. Thread-safe. Unavailable: whoever keeps the store does not
// answer.
class RankStore {
 public:
  virtual ~RankStore() = default;

  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  // By key, empty where nobody has set it.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> Get(
      const std::vector<std::string>& keys) = 0;
  // Adds to the number under `key` (0 where there is none) and returns the sum: a key that is asked for so is
  // never Set.
  virtual absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) = 0;
};

// For ranks that are threads of one process.
class InMemoryRankStore : public RankStore {
 public:
  absl::Status Set(const std::string& key, const std::string& value) override {
    std::lock_guard lock(mutex_);
    values_[key] = value;
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<std::optional<std::string>>> Get(const std::vector<std::string>& keys) override {
    std::lock_guard lock(mutex_);
    std::vector<std::optional<std::string>> found;
    for (const std::string& key : keys) {
      const auto value = values_.find(key);
      found.push_back(value == values_.end() ? std::nullopt : std::optional(value->second));
    }
    return found;
  }
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override {
    std::lock_guard lock(mutex_);
    return counts_[key] += amount;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> values_;
  std::map<std::string, int64_t> counts_;
};

}  // namespace afterimage::trainer
