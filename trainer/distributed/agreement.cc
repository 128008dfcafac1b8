#include "trainer/distributed/agreement.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status_macros.h"

namespace afterimage::trainer {
namespace {

void Differences(const std::string& path, const Json& first, const Json& other,
                 std::vector<std::string>& found) {
  if (first == other) return;
  if (first.is_object() && other.is_object()) {
    Json keys = first;
    keys.update(other);
    for (const auto& [key, unused] : keys.items()) {
      Differences(path.empty() ? key : absl::StrCat(path, ".", key),
                  first.contains(key) ? first[key] : Json(), other.contains(key) ? other[key] : Json(),
                  found);
    }
    return;
  }
  found.push_back(absl::StrCat("\"", path, "\": ", other.dump(), ", rank 0 ", first.dump()));
}

}  // namespace

absl::Status AgreeOnStatus(Communicator& communicator, const absl::Status& mine) {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      communicator.Gather(absl::StrCat(static_cast<int>(mine.code()), " ", mine.message())));
  if (!mine.ok()) return mine;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const size_t space = all[rank].find(' ');
    int code = 0;
    if (!absl::SimpleAtoi(all[rank].substr(0, space), &code))
      return absl::InternalError(absl::StrCat("rank ", rank, " sent no status"));
    if (code == 0) continue;
    return absl::Status(static_cast<absl::StatusCode>(code),
                        absl::StrCat("rank ", rank, ": ", all[rank].substr(space + 1)));
  }
  return absl::OkStatus();
}

absl::Status AgreeOnValues(Communicator& communicator, const Json& mine) {
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<std::string> all, communicator.Gather(mine.dump()));
  const Json first = Json::parse(all[0], nullptr, /*allow_exceptions=*/false);
  for (size_t rank = 1; rank < all.size(); ++rank) {
    std::vector<std::string> differences;
    Differences("", first, Json::parse(all[rank], nullptr, /*allow_exceptions=*/false), differences);
    if (differences.empty()) continue;
    return absl::FailedPreconditionError(absl::StrCat("rank ", rank,
                                                      " is not as rank 0: ", absl::StrJoin(differences, "; "),
                                                      ": start all ranks with the same command"));
  }
  return absl::OkStatus();
}

}  // namespace afterimage::trainer
