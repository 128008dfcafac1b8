// afterimage verify: reads every record and checks every checksum.
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/feature_block.h"

namespace afterimage::cli {
namespace {

struct VerifyFlags : SetFlags {
  bool json = false;
  bool repair = false;
  uint32_t view_seeds = 0;
};

struct Counts {
  uint64_t ok = 0, missing = 0, damaged = 0, failed = 0;
};

constexpr size_t kKeysPerRead = 64;

absl::Status RunVerify(const VerifyFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet selected, OpenSelectedSet(flags));
  if (flags.repair && selected.cache.mark_damaged == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("--repair needs the cache's folder, and ", selected.cache.address, " is a server: run it where the folder is"));
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<ImageKey> keys, KeysOfSet(*selected.cache.catalog, selected.summary));
  const uint32_t view_seeds = flags.view_seeds != 0 ? flags.view_seeds : selected.summary.num_view_seeds;

  Counts counts;
  std::vector<std::string> damage;
  std::vector<RecordKey> damaged_keys;
  uint64_t done = 0;
  Progress progress({.label = "verify", .unit = "records", .total = keys.size() * uint64_t{view_seeds},
                     .style = flags.json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  for (uint32_t seed = 0; seed < view_seeds; ++seed) {
    for (size_t first = 0; first < keys.size(); first += kKeysPerRead) {
      std::vector<RecordKey> wanted;
      for (size_t i = first; i < std::min(keys.size(), first + kKeysPerRead); ++i) wanted.push_back({keys[i], seed});
      AFTERIMAGE_RETURN_IF_ERROR(selected.set.store->Read(wanted, {}, {}, [&](size_t index, RecordResult result) {
        switch (result.state) {
          case RecordState::kMissing: ++counts.missing; break;
          case RecordState::kFailed: ++counts.failed; break;
          case RecordState::kDamaged:
            ++counts.damaged;
            damage.push_back(result.reason);
            damaged_keys.push_back(wanted[index]);
            break;
          case RecordState::kOk: {
            // A whole block travels unread: look into every section.
            absl::StatusOr<FeatureBlock> block = FeatureBlock::Parse(result.block.bytes);
            const absl::Status whole = block.ok() ? block->VerifyAll() : block.status();
            if (whole.ok()) {
              ++counts.ok;
            } else {
              ++counts.damaged;
              damage.push_back(absl::StrCat(wanted[index].ToString(), ": ", whole.message()));
              damaged_keys.push_back(wanted[index]);
            }
            break;
          }
        }
        return true;
      }));
      done += wanted.size();
      progress.Update(done);
      if (StopRequested()) return absl::CancelledError(absl::StrCat("stopped after ", done, " records"));
    }
  }
  progress.Finish();
  if (flags.json) {
    std::cout << JsonText({{"event", "summary"},
                           {"ok", counts.ok},
                           {"failed", counts.failed},
                           {"missing", counts.missing},
                           {"damaged", counts.damaged},
                           {"damage", damage}})
              << "\n";
  } else {
    std::cout << absl::StrFormat("%d OK, %d failed pictures, %d missing, %d damaged\n", counts.ok, counts.failed, counts.missing,
                                 counts.damaged);
    for (const std::string& line : damage) std::cout << "  " << line << "\n";
  }
  if (flags.repair && counts.damaged > 0) {
    AFTERIMAGE_RETURN_IF_ERROR(selected.cache.mark_damaged(selected.summary.id, damaged_keys));
    if (!flags.json) std::cout << "noted; the command that filled this cache computes these records again\n";
    return absl::OkStatus();
  }
  if (counts.damaged > 0) {
    return absl::DataLossError(absl::StrCat(counts.damaged, " damaged records in set ", selected.summary.id.Hex()));
  }
  return absl::OkStatus();
}

}  // namespace

void AddVerifyCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command = app.add_subcommand("verify", "read every record of a set and check every checksum");
  AddSetFlags(*command, *flags);
  command->add_option("--view-seeds", flags->view_seeds, "check seeds 0..N-1 (0 = those that are stored)")->capture_default_str();
  command->add_flag("--repair", flags->repair, "note the damaged records, so that the next precompute makes them again");
  command->add_flag("--json", flags->json, "JSON for machines");
  command->callback([flags, &run] { run = [flags] { return RunVerify(*flags); }; });
}

}  // namespace afterimage::cli
