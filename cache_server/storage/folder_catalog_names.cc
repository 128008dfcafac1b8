// The names of a cache: the file `names`, a JSON object {name: digest}, changed under a lock beside it.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache_server/storage/file_lock.h"
#include "cache_server/storage/folder_catalog.h"
#include "cache_server/storage/unit_marker.h"
#include "core/base/files.h"
#include "core/base/status_macros.h"

namespace afterimage {

absl::StatusOr<std::map<std::string, Digest256>> FolderCatalog::ListNames() {
  const std::filesystem::path path = path_ / "names";
  const absl::StatusOr<std::string> text = ReadFile(path);
  std::map<std::string, Digest256> names;
  if (absl::IsNotFound(text.status())) return names;
  if (!text.ok()) return text.status();
  AFTERIMAGE_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(*text, path.string()));
  for (const auto& [name, value] : json.items()) {
    const absl::StatusOr<Digest256> digest = value.is_string() ? Digest256::FromHex(value.get<std::string>())
                                                               : absl::InvalidArgumentError("not text");
    if (!digest.ok()) {
      return absl::DataLossError(absl::StrCat(path.string(), ": the name \"", name, "\" has no digest"));
    }
    names[name] = *digest;
  }
  return names;
}

absl::Status FolderCatalog::ChangeNames(
    const std::function<absl::Status(std::map<std::string, Digest256>&)>& change) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto lock, FileLock::Wait(path_ / "names.lock"));
  AFTERIMAGE_ASSIGN_OR_RETURN(auto names, ListNames());
  AFTERIMAGE_RETURN_IF_ERROR(change(names));
  Json json = Json::object();
  for (const auto& [name, digest] : names) json[name] = digest.Hex();
  return WriteFileAtomically(path_ / "names", absl::StrCat(json.dump(1), "\n"));
}

absl::Status FolderCatalog::SetName(const std::string& name, const Digest256& target, bool replace) {
  AFTERIMAGE_RETURN_IF_ERROR(ValidateName(name));
  return ChangeNames([&](std::map<std::string, Digest256>& names) -> absl::Status {
    const auto [entry, is_new] = names.try_emplace(name, target);
    if (is_new || entry->second == target) return absl::OkStatus();
    if (!replace) {
      return absl::AlreadyExistsError(absl::StrCat("the name \"", name, "\" stands for ", entry->second.Hex(),
                                                   "; replace it to give it to ", target.Hex()));
    }
    entry->second = target;
    return absl::OkStatus();
  });
}

absl::Status FolderCatalog::RemoveName(const std::string& name) {
  return ChangeNames([&](std::map<std::string, Digest256>& names) -> absl::Status {
    if (names.erase(name) == 1) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("there is no name \"", name, "\""));
  });
}

}  // namespace afterimage
