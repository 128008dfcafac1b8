// A worker process for the tests: fills a set of a folder cache, as afterimage-precompute does on a shared
// folder.
//   fill_cache_worker CACHE WORKER NUM_IMAGES NUM_VIEW_SEEDS MILLISECONDS_PER_UNIT
// Ends with 0 when everything is complete.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/time/clock.h"
#include "cache_server/storage/folder_catalog.h"
#include "core/base/status_macros.h"
#include "tests/cache_server/storage/cache_fixture.h"

namespace afterimage::testing {
namespace {

absl::Status Work(const std::string& path, const std::string& worker, uint64_t num_images,
                  uint32_t num_view_seeds, absl::Duration per_unit) {
  AFTERIMAGE_ASSIGN_OR_RETURN(
      const auto catalog,
      FolderCatalog::Open(path, {.create = true, .poll_interval = absl::Milliseconds(50)}));
  const SetDescription description = MakeSyntheticDescription();
  const Manifest manifest = MakeSyntheticManifest(num_images);
  AFTERIMAGE_RETURN_IF_ERROR(catalog->PutManifest(manifest));
  AFTERIMAGE_RETURN_IF_ERROR(catalog->CreateSet(description).status());
  AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set,
                              catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
  ClaimRequest request = FixtureRequest(manifest.digest(), num_view_seeds, worker);
  request.lease_duration = absl::Milliseconds(700);
  while (true) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const ClaimResult claim, set.ledger->Claim(request));
    for (const ClaimedUnit& unit : claim.units) {
      absl::SleepFor(per_unit);
      const absl::StatusOr<PublishReport> report = PublishClaimed(set, unit, FixtureFails);
      // Somebody else took the unit over while this process did not get on.
      if (!report.ok() && !absl::IsFailedPrecondition(report.status())) return report.status();
    }
    if (claim.all_complete) return absl::OkStatus();
    if (claim.units.empty()) absl::SleepFor(absl::Milliseconds(20));
  }
}

}  // namespace
}  // namespace afterimage::testing

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const absl::Status status = afterimage::testing::Work(
      argv[1], argv[2], std::strtoull(argv[3], nullptr, 10),
      static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10)), absl::Milliseconds(std::atoi(argv[5])));
  if (!status.ok()) std::fprintf(stderr, "%s: %s\n", argv[2], status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
