// Small whole-file operations that are safe against crashes.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace afterimage {

// errno as a Status that names the operation and the path: NotFound, ResourceExhausted (no space, quota),
// PermissionDenied, AlreadyExists, else Unavailable for interrupted I/O and Internal otherwise.
absl::Status ErrnoStatus(int error, absl::string_view operation, const std::filesystem::path& path);

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path);

// Writes beside the target, syncs, renames, syncs the folder: readers see the old or the new content, never a part.
absl::Status WriteFileAtomically(const std::filesystem::path& path, absl::string_view content);

// Creates the file with this content unless it exists: true if this call created it. The content appears whole.
absl::StatusOr<bool> CreateFileExclusively(const std::filesystem::path& path, absl::string_view content);

absl::Status CreateDirectories(const std::filesystem::path& path);
absl::Status SyncDirectory(const std::filesystem::path& path);
absl::Status SyncFile(const std::filesystem::path& path);

}  // namespace afterimage
