// afterimage stream-bench: what the way from the cache to a trainer carries, and what it costs.
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/epoch_bench.h"
#include "client/cli/read_positions.h"
#include "client/cli/stall_report.h"
#include "client/flags/encoding_flag.h"
#include "client/flags/hedge_flag.h"
#include "core/base/allocator.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/mask/mask.h"

namespace afterimage::cli {
namespace {

constexpr uint64_t kUsualBatch = 256;

struct StreamBenchFlags : SetFlags {
  std::string manifest;
  uint64_t first_epoch = 0;
  uint64_t epochs = 1;
  uint64_t steps = 0;
  uint64_t batch = 0;
  uint32_t ranks = 1;
  uint32_t view_seeds = 0;
  uint64_t order_seed = 0;
  MaskSpec::Type mask_type = MaskSpec::Type::kAttention;
  double mask_ratio = 0.7;
  uint32_t mask_seed = 0;
  std::vector<uint32_t> levels;
  Selection::Tokens tokens = Selection::Tokens::kMask;
  bool no_pixels = false;
  Selection::Encoding encoding = Selection::Encoding::kStored;
  uint64_t credit_bytes = EpochRequest().credit_bytes;
  std::optional<absl::Duration> hedge_after;
  bool verify = false;
  std::string positions;
  bool json = false;
};

// The epochs that `afterimage-train pretrain` reads with these flags.
absl::StatusOr<EpochRequest> MakeRequest(const StreamBenchFlags& flags, FeatureCatalog& catalog,
                                         const SetSummary& set) {
  if (set.num_view_seeds == 0)
    return absl::FailedPreconditionError(
        "the set holds no complete unit yet: wait for afterimage-precompute");
  if (flags.view_seeds > set.num_view_seeds) {
    return absl::InvalidArgumentError(
        absl::StrCat("--view-seeds ", flags.view_seeds, ": the set holds ", set.num_view_seeds));
  }
  EpochRequest request;
  request.set_id = set.id;
  AFTERIMAGE_ASSIGN_OR_RETURN(request.order.manifest, ResolveManifest(catalog, set, flags.manifest));
  AFTERIMAGE_ASSIGN_OR_RETURN(const auto manifest, catalog.GetManifest(request.order.manifest));
  request.order.num_occurrences = manifest->num_occurrences();
  request.order.num_view_seeds = flags.view_seeds > 0 ? flags.view_seeds : set.num_view_seeds;
  request.order.order_seed = flags.order_seed;
  if (set.description.set.token_policy == TokenPolicy::kVisible) {
    request.order.mask = set.description.set.mask;
  } else {
    const uint32_t num_patches = set.description.feature.geometry.num_patches();
    request.order.mask.type = flags.mask_type;
    request.order.mask.num_visible = NumVisible(num_patches, flags.mask_ratio);
    request.order.mask.mask_seed = flags.mask_seed;
    // Nothing is chosen, so that no importance is needed; as the trainer says it.
    if (request.order.mask.num_visible == num_patches) request.order.mask.type = MaskSpec::Type::kRandom;
  }
  request.epoch = flags.first_epoch;
  request.global_batch =
      flags.batch > 0 ? flags.batch : std::min<uint64_t>(kUsualBatch, request.order.num_occurrences);
  request.selection.levels = flags.levels;
  std::sort(request.selection.levels.begin(), request.selection.levels.end());
  request.selection.tokens = flags.tokens;
  request.selection.encoding = flags.encoding;
  request.selection.pixels = set.description.set.pixels && !flags.no_pixels;
  request.credit_bytes = flags.credit_bytes;
  return request;
}

StallReport StallsOf(const EpochBenchReport& report) {
  StallReport stalls;
  stalls.seconds = absl::ToDoubleSeconds(report.opening + report.waiting + report.working);
  for (const StallRow& row : report.stalls) stalls.Add(row);
  return stalls;
}

void PrintText(const StreamBenchFlags& flags, const SelectedSet& selected, const EpochRequest& request,
               const EpochBenchReport& report) {
  const double seconds = absl::ToDoubleSeconds(report.wall);
  const double gigabytes = static_cast<double>(report.bytes) / 1e9;
  const auto per_gigabyte = [&](double value) { return gigabytes > 0 ? value / gigabytes : 0.0; };
  std::cout << absl::StrFormat(
      "set          %s (codec %s), %d pictures, %d view seeds, at %s\n", request.set_id.Hex().substr(0, 12),
      CodecName(selected.summary.description.set.codec), request.order.num_occurrences,
      request.order.num_view_seeds, selected.cache.address);
  std::cout << absl::StrFormat("read         %d records, %s in %.2f s; %d epochs, batch %d, %d ranks\n",
                               report.records, HumanBytes(report.bytes), seconds, flags.epochs,
                               request.global_batch, flags.ranks);
  std::cout << absl::StrFormat("rate         %.0f records/s, %.3f GB/s\n",
                               static_cast<double>(report.records) / seconds, gigabytes / seconds);
  std::cout << absl::StrFormat("first batch  %.0f ms after the start of an epoch, at the latest\n",
                               absl::ToDoubleMilliseconds(report.first_batch));
  std::cout << absl::StrFormat("client       %.2f CPU-s/GB, at most %s of memory\n",
                               per_gigabyte(report.client_cpu_seconds), HumanBytes(report.client_peak_bytes));
  const absl::Duration ranks_time = report.opening + report.waiting + report.working;
  const auto share = [](double part, double whole) { return whole > 0 ? 100 * part / whole : 0.0; };
  const auto of_ranks = [&](absl::Duration part) {
    return share(absl::ToDoubleSeconds(part), absl::ToDoubleSeconds(ranks_time));
  };
  std::cout << absl::StrFormat(
      "ranks' time  %.0f %% waiting for the next record, %.0f %% opening epochs, %.0f %% working\n",
      of_ranks(report.waiting), of_ranks(report.opening), of_ranks(report.working));
  if (report.server.has_value()) {
    std::cout << absl::StrFormat(
        "server       %.2f CPU-s/GB (its whole process: what others read meanwhile counts), at most %s of "
        "memory\n",
        per_gigabyte(report.server->process.cpu_seconds),
        HumanBytes(report.server->process.peak_resident_bytes));
    const double streams_time = absl::ToDoubleSeconds(ranks_time);
    std::cout << absl::StrFormat(
        "its streams  waited %.0f %% of that time for credit, %.0f %% for the store, %.0f %% for their turn, "
        "%.0f %% for the socket\n",
        share(report.server->credit_wait_seconds, streams_time),
        share(report.server->store_wait_seconds, streams_time),
        share(report.server->queue_wait_seconds, streams_time),
        share(report.server->socket_wait_seconds, streams_time));
    std::cout << absl::StrFormat(
        "its bytes    came %.0f %% through shared memory, the others through the connection\n",
        share(static_cast<double>(report.server->shared_bytes),
              static_cast<double>(report.server->sent_bytes)));
  } else {
    std::cout << "server       none: the folder is read in this process, and counts as the client's\n";
  }
  if (report.missing + report.damaged + report.failed > 0) {
    std::cout << absl::StrFormat("states       %d missing, %d damaged, %d failed pictures\n", report.missing,
                                 report.damaged, report.failed);
  }
  if (report.hedges.asked > 0) {
    std::cout << absl::StrFormat(
        "hedges       %d records were asked of a second server, %d came from it first\n", report.hedges.asked,
        report.hedges.won);
  }
  for (const auto& [server, count] : report.hedged) {
    std::cout << absl::StrFormat(
        "hedged       %d records that %s kept waiting for came from another server\n", count, server);
  }
  const StallReport stalls = StallsOf(report);
  std::cout << "stall ledger The ranks " << WaitText(stalls) << ".\n" << StallTable(stalls);
  for (const EpochDigest& epoch : report.digests) {
    std::cout << absl::StrFormat("digest       epoch %d, after step %d: %s\n", epoch.epoch, epoch.steps,
                                 epoch.digest.Hex());
  }
}

void PrintJson(const StreamBenchFlags& flags, const SelectedSet& selected, const EpochRequest& request,
               const EpochBenchReport& report) {
  const double seconds = absl::ToDoubleSeconds(report.wall);
  const double gigabytes = static_cast<double>(report.bytes) / 1e9;
  const auto per_gigabyte = [&](double value) { return gigabytes > 0 ? Json(value / gigabytes) : Json(); };
  Json digests = Json::array();
  for (const EpochDigest& epoch : report.digests)
    digests.push_back(
        {{"epoch", epoch.epoch}, {"steps", epoch.steps}, {"running_digest", epoch.digest.Hex()}});
  Json json = {{"event", "summary"},
               {"cache", selected.cache.address},
               {"set", request.set_id.Hex()},
               {"ranks", flags.ranks},
               {"global_batch", request.global_batch},
               {"records", report.records},
               {"bytes", report.bytes},
               {"missing", report.missing},
               {"damaged", report.damaged},
               {"failed", report.failed},
               {"padding", report.padding},
               {"hedged", report.hedged},
               {"hedges", {{"asked", report.hedges.asked}, {"won", report.hedges.won}}},
               {"seconds", seconds},
               {"records_per_s", static_cast<double>(report.records) / seconds},
               {"gb_per_s", gigabytes / seconds},
               {"first_batch_ms", absl::ToDoubleMilliseconds(report.first_batch)},
               {"client_cpu_s_per_gb", per_gigabyte(report.client_cpu_seconds)},
               {"client_peak_bytes", report.client_peak_bytes},
               {"opening_s", absl::ToDoubleSeconds(report.opening)},
               {"waiting_s", absl::ToDoubleSeconds(report.waiting)},
               {"working_s", absl::ToDoubleSeconds(report.working)},
               {"stalls", ToJson(StallsOf(report))},
               {"stall_s", ToJson(report.stalls)},
               {"server_cpu_s_per_gb", Json()},
               {"server_peak_bytes", Json()},
               {"digests", digests}};
  if (report.server.has_value()) {
    json["server_cpu_s_per_gb"] = per_gigabyte(report.server->process.cpu_seconds);
    json["server_peak_bytes"] = report.server->process.peak_resident_bytes;
    json["server_wait_s"] = {{"credit", report.server->credit_wait_seconds},
                             {"store", report.server->store_wait_seconds},
                             {"queue", report.server->queue_wait_seconds},
                             {"socket", report.server->socket_wait_seconds}};
    json["server_sent_bytes"] = report.server->sent_bytes;
    json["server_shared_bytes"] = report.server->shared_bytes;
  }
  std::cout << JsonText(json) << "\n";
}

// The records at --positions of one epoch, a line each.
absl::Status ListPositions(const StreamBenchFlags& flags, EpochSource& source, EpochRequest request) {
  if (flags.ranks != 1 || flags.epochs != 1 || flags.steps != 0) {
    return absl::InvalidArgumentError(
        "--positions reads just these, of the epoch that --first-epoch names: leave --ranks, --epochs and "
        "--steps out");
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(const PositionRange range, ParsePositions(flags.positions));
  request.positions = {range};
  return ReadPositions(source, request, flags.verify, [&](const EpochFrame& frame) {
    std::cout << (flags.json ? JsonText(FrameJson(frame)) : FrameText(frame)) << "\n";
  });
}

absl::Status RunStreamBench(const StreamBenchFlags& flags) {
  InstallStopSignalHandlers();
  KeepFreedMemory();  // as a trainer does
  AFTERIMAGE_ASSIGN_OR_RETURN(SelectedSet selected, OpenSelectedSet(flags));
  AFTERIMAGE_ASSIGN_OR_RETURN(const EpochRequest request,
                              MakeRequest(flags, *selected.cache.catalog, selected.summary));
  if (!flags.positions.empty()) return ListPositions(flags, *selected.cache.epoch_source, request);
  const uint64_t all_steps = StepsPerEpoch(request.order, request.global_batch);
  const uint64_t steps = flags.steps == 0 ? all_steps : std::min(flags.steps, all_steps);
  Progress progress({.label = "stream-bench",
                     .unit = "records",
                     .total = flags.epochs * steps * request.global_batch,
                     .style = flags.json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  EpochBenchOptions options;
  options.cache = flags.cache;
  options.access = flags.access;
  options.hedge_after = flags.hedge_after;
  options.request = request;
  options.num_epochs = flags.epochs;
  options.steps = flags.steps;
  options.num_ranks = flags.ranks;
  options.verify = flags.verify;
  options.progress = [&](uint64_t records, uint64_t bytes) { progress.Update(records, HumanBytes(bytes)); };
  options.message = [&](const std::string& text) { progress.Message(text); };
  AFTERIMAGE_ASSIGN_OR_RETURN(const EpochBenchReport report, RunEpochBench(options));
  progress.Update(report.records, HumanBytes(report.bytes));
  progress.Finish();
  if (flags.json) {
    PrintJson(flags, selected, request, report);
  } else {
    PrintText(flags, selected, request, report);
  }
  return absl::OkStatus();
}

}  // namespace

void AddStreamBenchCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<StreamBenchFlags>();
  CLI::App* command = app.add_subcommand("stream-bench",
                                         "read epochs as training ranks do, without training: records/s, "
                                         "GB/s, CPU, memory, what is waited for, running "
                                         "digest");
  AddSetFlags(*command, *flags);
  command->add_option("--manifest", flags->manifest,
                      "name or digest of the data set (may be left out when there is one)");
  command->add_option("--first-epoch", flags->first_epoch, "begin with this epoch")->capture_default_str();
  command->add_option("--epochs", flags->epochs, "how many epochs")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--steps", flags->steps, "only the first steps of each epoch (0 = all)")
      ->capture_default_str();
  command
      ->add_option("--batch", flags->batch,
                   "samples in a step, of all ranks together (0 = 256, or all there are)")
      ->capture_default_str();
  command
      ->add_option("--ranks", flags->ranks, "read as so many ranks at once: a thread and a connection each")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--view-seeds", flags->view_seeds,
                   "epochs go through seeds 0..K-1 (0 = those that are stored)")
      ->capture_default_str();
  command->add_option("--order-seed", flags->order_seed, "another order; the trainer's --seed")
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--mask-type",
          [flags](const std::string& type) {
            flags->mask_type = type == "random" ? MaskSpec::Type::kRandom : MaskSpec::Type::kAttention;
          },
          "attention or random, of a set of all tokens (attention)")
      ->check(CLI::IsMember({"attention", "random"}));
  command
      ->add_option("--mask-ratio", flags->mask_ratio,
                   "share of patches that is hidden, of a set of all tokens")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--mask-seed", flags->mask_seed, "other masks of the same views")
      ->capture_default_str();
  command
      ->add_option("--levels", flags->levels, "only these levels, e.g. 11,12 (left out: all that are stored)")
      ->delimiter(',');
  command
      ->add_option_function<std::string>(
          "--tokens",
          [flags](const std::string& tokens) {
            flags->tokens = tokens == "stored" ? Selection::Tokens::kStored : Selection::Tokens::kMask;
          },
          "visible: the rows of one mask, as a trainer reads; stored: all rows (visible)")
      ->check(CLI::IsMember({"visible", "stored"}));
  command->add_flag("--no-pixels", flags->no_pixels, "leave the views' pixels out");
  AddWireEncodingFlag(*command, flags->encoding, "Options", "how values travel (stored)");
  command->add_option("--credit", flags->credit_bytes, "bytes under way per rank, e.g. 64MB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
      ->capture_default_str();
  AddHedgeFlag(*command, flags->hedge_after, "Options");
  command->add_option(
      "--positions", flags->positions,
      "no bench: list the records at these positions of the first epoch, A-B with both included "
      "(step t of batch G has t*G to t*G+G-1)");
  command->add_flag("--verify", flags->verify, "check every checksum of what comes, as decoding would");
  command->add_flag("--json", flags->json, "JSON for machines");
  command->callback([flags, &run] { run = [flags] { return RunStreamBench(*flags); }; });
}

}  // namespace afterimage::cli
