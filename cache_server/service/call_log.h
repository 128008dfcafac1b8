// One line per call, for people or for machines.
#pragma once

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace afterimage {

// How a call went.
struct CallRecord {
  std::string request_id;
  const char* method = "";
  std::string peer;  // "ipv4:10.0.0.7:51234", "unix:"
  std::string
      holder;  // whose token it was, by its name in the token file; empty: none was wanted, or it was wrong
  absl::Status status;
  absl::Time begin;
  absl::Duration took;
  bool is_bulk = false;
  uint64_t records = 0;  // of a bulk call
  uint64_t bytes = 0;    // of their blocks
  uint64_t shared_bytes = 0;  // of these, through shared memory
};

// Thread-safe. Lines are written whole.
class CallLog {
 public:
  enum class Level {
    kNone,
    kErrors,
    kStreams,
    kAll
  };  // each with what those before it have; kStreams: bulk calls
  struct Options {
    Level level = Level::kNone;
    bool json = false;
    std::FILE* stream = stderr;
  };

  explicit CallLog(Options options) : options_(options) {}

  void Write(const CallRecord& call);
  // The line, without its end.
  static std::string Format(const CallRecord& call, bool json);

 private:
  bool Wants(const CallRecord& call) const;

  const Options options_;
  std::mutex mutex_;
};

}  // namespace afterimage
