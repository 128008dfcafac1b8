// The bearer tokens of a server.
#pragma once

#include <sys/types.h>

#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/base/digest.h"

namespace afterimage {

// What a caller may do; each includes those before it.
enum class Access {
  kRead,   // read records, epochs and what the catalog says
  kWrite,  // create sets, hand in units, manifests, labels and new names
  kAdmin,  // move and remove names
};
const char* AccessName(Access access);  // "read", "write", "admin"

// Whose token it was.
struct TokenHolder {
  Access access = Access::kRead;
  std::string name;
};

// A file with one token per line: ROLE TOKEN [NAME], ROLE read, write or admin, TOKEN of at least 16
// characters; # begins a comment. Only the tokens' SHA-256 is kept, and no token is in any message. A file
// that has changed is read again within a second; while what it then holds cannot be used, the tokens before
// it stay in force. Thread-safe.
class TokenFile {
 public:
  // InvalidArgument: a line that is none (told by its number), or no token at all. Otherwise as ReadFile.
  static absl::StatusOr<std::unique_ptr<TokenFile>> Open(const std::string& path);

  // Who presents `token`; nothing when it is none of the file's. Takes the same time whichever token matches,
  // or none.
  std::optional<TokenHolder> Find(absl::string_view token);

  // For people: "3 tokens (1 read, 1 write, 1 admin)".
  std::string Summary();
  // Why the file's present content is not in force; OK when it is.
  absl::Status reload_status();
  // Others than owner and group may read the file.
  bool is_world_readable() const;

 private:
  struct Entry {
    Digest256 digest;
    TokenHolder holder;
  };
  struct Version {
    ino_t inode = 0;
    off_t size = 0;
    timespec modified = {};
    bool operator==(const Version& other) const {
      return inode == other.inode && size == other.size && modified.tv_sec == other.modified.tv_sec &&
             modified.tv_nsec == other.modified.tv_nsec;
    }
  };

  explicit TokenFile(std::string path) : path_(std::move(path)) {}
  static absl::StatusOr<std::vector<Entry>> Parse(const std::string& path, absl::string_view text);
  std::optional<Version> CurrentVersion() const;
  absl::Status Load();
  void ReloadIfChanged();  // with mutex_

  const std::string path_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
  std::optional<Version> version_;  // that was looked at last
  absl::Status reload_status_;
  absl::Time next_look_;
};

}  // namespace afterimage
