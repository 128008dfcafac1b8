// Which sets there are and whether they can be read, looked at again and again.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cache_server/service/open_sets.h"
#include "core/feature/feature_catalog.h"

namespace afterimage {

// Has looked once when it is made; then a thread opens sets which have appeared, closes those that have
// gone, and reports each one's health. Thread-safe.
class SetWatch {
 public:
  struct Seen {
    std::string id;  // hexadecimal
    std::vector<std::string> names;
    uint64_t num_records = 0;
    uint64_t num_failed = 0;
    uint64_t stored_bytes = 0;
    absl::Status status;  // why it cannot be read
  };
  // Called while the watch is made, then from its thread, with the id and with each name of a set.
  using Report = std::function<void(const std::string& service, bool serving)>;

  // The arguments must outlive this.
  SetWatch(FeatureCatalog* catalog, OpenSets* sets, absl::Duration interval, Report report);
  ~SetWatch() { Stop(); }

  // Nothing is reported after it.
  void Stop();
  // As of the last look.
  std::vector<Seen> sets() const;
  // Of the last look itself.
  absl::Status status() const;

 private:
  void Work();
  void Look();

  FeatureCatalog* const catalog_;
  OpenSets* const open_sets_;
  const absl::Duration interval_;
  const Report report_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  absl::Status status_;
  std::vector<Seen> sets_;
  std::map<std::string, bool> reported_;  // of the thread
  std::map<Digest256, bool> known_;       // of the thread
  std::thread thread_;                    // last: it uses all of the above
};

}  // namespace afterimage
