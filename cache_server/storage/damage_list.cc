#include "cache_server/storage/damage_list.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cache_server/storage/file_lock.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<std::set<RecordKey>> DamageList::Read() const {
  const absl::StatusOr<std::string> text = ReadFile(path_);
  std::set<RecordKey> keys;
  if (absl::IsNotFound(text.status())) return keys;
  if (!text.ok()) return text.status();
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits('/', 1));
    RecordKey key;
    const absl::StatusOr<ImageKey> image = ImageKey::FromHex(parts.first);
    if (!image.ok() || !absl::SimpleAtoi(parts.second, &key.view_seed)) {
      return absl::DataLossError(absl::StrCat(path_.string(), ": not a record key: ", line,
                                              "; remove the file and verify the set again"));
    }
    key.image = *image;
    keys.insert(key);
  }
  return keys;
}

absl::Status DamageList::Add(const std::vector<RecordKey>& keys) const { return Change(keys, true); }

absl::Status DamageList::Remove(const std::vector<RecordKey>& keys) const { return Change(keys, false); }

absl::Status DamageList::Change(const std::vector<RecordKey>& keys, bool add) const {
  if (keys.empty()) return absl::OkStatus();
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(path_.string() + ".lock"));
  AFTERIMAGE_ASSIGN_OR_RETURN(std::set<RecordKey> listed, Read());
  bool changed = false;
  for (const RecordKey& key : keys) changed |= add ? listed.insert(key).second : listed.erase(key) > 0;
  if (!changed) return absl::OkStatus();
  std::string text;
  for (const RecordKey& key : listed) absl::StrAppend(&text, key.ToString(), "\n");
  return WriteFileAtomically(path_, text);
}

}  // namespace afterimage
