#include "cache_server/service/token_file.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "core/base/bytes.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {
namespace {

constexpr absl::Duration kLookInterval = absl::Seconds(1);
constexpr size_t kMinTokenBytes = 16;
constexpr std::array<Access, 3> kAll = {Access::kRead, Access::kWrite, Access::kAdmin};

std::optional<Access> AccessNamed(absl::string_view name) {
  for (const Access access : kAll) {
    if (name == AccessName(access)) return access;
  }
  return std::nullopt;
}

}  // namespace

const char* AccessName(Access access) {
  switch (access) {
    case Access::kRead:
      return "read";
    case Access::kWrite:
      return "write";
    case Access::kAdmin:
      return "admin";
  }
  return "?";
}

absl::StatusOr<std::unique_ptr<TokenFile>> TokenFile::Open(const std::string& path) {
  auto file = std::unique_ptr<TokenFile>(new TokenFile(path));
  file->version_ = file->CurrentVersion();
  AFTERIMAGE_RETURN_IF_ERROR(file->Load());
  file->next_look_ = absl::Now() + kLookInterval;
  return file;
}

absl::StatusOr<std::vector<TokenFile::Entry>> TokenFile::Parse(const std::string& path,
                                                               absl::string_view text) {
  std::vector<Entry> entries;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    // The words stay out of the text: any of them may be a token in the wrong place.
    const auto refuse = [&](absl::string_view why) {
      return absl::InvalidArgumentError(absl::StrCat(path, ", line ", number, ": ", why));
    };
    const std::optional<Access> access = AccessNamed(words[0]);
    if (!access.has_value() || words.size() < 2 || words.size() > 3)
      return refuse("expected ROLE TOKEN [NAME], with ROLE read, write or admin");
    if (words[1].size() < kMinTokenBytes)
      return refuse(absl::StrCat("a token needs at least ", kMinTokenBytes, " characters"));
    const std::string name = words.size() == 3 ? std::string(words[2]) : absl::StrCat("line ", number);
    entries.push_back({Sha256(AsBytes(std::string(words[1]))), {*access, name}});
  }
  if (entries.empty())
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no token in it; one per line: ROLE TOKEN [NAME]"));
  return entries;
}

std::optional<TokenFile::Version> TokenFile::CurrentVersion() const {
  struct stat status = {};
  if (stat(path_.c_str(), &status) != 0) return std::nullopt;
  return Version{status.st_ino, status.st_size, status.st_mtim};
}

absl::Status TokenFile::Load() {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string text, ReadFile(path_));
  AFTERIMAGE_ASSIGN_OR_RETURN(entries_, Parse(path_, text));
  return absl::OkStatus();
}

void TokenFile::ReloadIfChanged() {
  const absl::Time now = absl::Now();
  if (now < next_look_) return;
  next_look_ = now + kLookInterval;
  const std::optional<Version> version = CurrentVersion();
  if (version == version_) return;
  version_ = version;
  reload_status_ = Load();
}

std::optional<TokenHolder> TokenFile::Find(absl::string_view token) {
  const Digest256 presented = Sha256(AsBytes(std::string(token)));
  std::lock_guard lock(mutex_);
  ReloadIfChanged();
  size_t found = entries_.size();
  for (size_t i = 0; i < entries_.size(); ++i) {
    const bool same =
        CRYPTO_memcmp(presented.bytes.data(), entries_[i].digest.bytes.data(), presented.bytes.size()) == 0;
    found = same ? i : found;
  }
  if (found == entries_.size()) return std::nullopt;
  return entries_[found].holder;
}

std::string TokenFile::Summary() {
  std::lock_guard lock(mutex_);
  std::array<int, kAll.size()> counts = {};
  for (const Entry& entry : entries_) ++counts[static_cast<size_t>(entry.holder.access)];
  std::vector<std::string> parts;
  for (const Access access : kAll)
    parts.push_back(absl::StrCat(counts[static_cast<size_t>(access)], " ", AccessName(access)));
  return absl::StrCat(entries_.size(), " tokens (", parts[0], ", ", parts[1], ", ", parts[2], ")");
}

absl::Status TokenFile::reload_status() {
  std::lock_guard lock(mutex_);
  ReloadIfChanged();
  return reload_status_;
}

bool TokenFile::is_world_readable() const {
  struct stat status = {};
  return stat(path_.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0;
}

}  // namespace afterimage
