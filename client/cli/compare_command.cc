// afterimage compare: how far two sets are apart, over the records that both have.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "core/analysis/cka.h"
#include "core/base/json_text.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/codec_error.h"
#include "core/feature/feature_block.h"

namespace afterimage::cli {
namespace {

constexpr uint64_t kKeysPerRead = 16;
constexpr uint64_t kCkaRows = 20000;  // enough for a figure; each costs the square of both widths

struct CompareFlags : CacheFlags {
  std::string a;
  std::string b;
  uint64_t samples = 256;
  bool json = false;
};

struct LevelPair {
  uint32_t a = 0;
  uint32_t b = 0;
};

struct Comparison {
  CodecError error;  // of b against a; nothing where widths differ
  CkaAccumulator cka;
};

// The same levels where both sets have some in common; else the last one of each, the one before it, and so
// on.
std::vector<LevelPair> PairLevels(const SetDescription& a, const SetDescription& b) {
  std::vector<LevelPair> pairs;
  if (a.set.feature_id == b.set.feature_id) {
    for (const uint32_t level : a.set.levels) {
      if (std::ranges::find(b.set.levels, level) != b.set.levels.end()) pairs.push_back({level, level});
    }
    return pairs;
  }
  const size_t count = std::min(a.set.levels.size(), b.set.levels.size());
  for (size_t i = 0; i < count; ++i) {
    pairs.push_back(
        {a.set.levels[a.set.levels.size() - count + i], b.set.levels[b.set.levels.size() - count + i]});
  }
  return pairs;
}

// Numbers of the rows of tokens that both records store.
std::pair<std::vector<uint16_t>, std::vector<uint16_t>> CommonRows(const std::vector<uint16_t>& a,
                                                                   const std::vector<uint16_t>& b) {
  std::pair<std::vector<uint16_t>, std::vector<uint16_t>> rows;
  for (size_t i = 0, k = 0; i < a.size() && k < b.size();) {
    if (a[i] == b[k]) {
      rows.first.push_back(static_cast<uint16_t>(i++));
      rows.second.push_back(static_cast<uint16_t>(k++));
    } else {
      ++(a[i] < b[k] ? i : k);
    }
  }
  return rows;
}

class Comparer {
 public:
  Comparer(const OpenedSet& a, const OpenedSet& b)
      : a_(a), b_(b), pairs_(PairLevels(a.store->description(), b.store->description())) {
    const uint32_t width_a = a.store->description().feature.geometry.width;
    const uint32_t width_b = b.store->description().feature.geometry.width;
    for (size_t i = 0; i < pairs_.size(); ++i) comparisons_.push_back({{}, CkaAccumulator(width_a, width_b)});
  }

  const std::vector<LevelPair>& pairs() const { return pairs_; }
  const std::vector<Comparison>& comparisons() const { return comparisons_; }
  uint64_t num_records() const { return num_records_; }
  uint64_t num_other_views() const { return num_other_views_; }

  absl::Status Add(std::span<const RecordKey> keys) {
    std::map<size_t, PinnedBytes> first, second;
    AFTERIMAGE_RETURN_IF_ERROR(ReadInto(*a_.store, keys, first));
    AFTERIMAGE_RETURN_IF_ERROR(ReadInto(*b_.store, keys, second));
    for (const auto& [index, bytes] : first) {
      const auto other = second.find(index);
      if (other == second.end()) continue;
      const absl::Status status = AddRecord(bytes, other->second);
      if (!status.ok()) return WithContext(status, absl::StrCat("record ", keys[index].ToString()));
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status ReadInto(FeatureStore& store, std::span<const RecordKey> keys,
                               std::map<size_t, PinnedBytes>& records) {
    return store.Read(keys, {.levels = {}, .pixels = store.description().set.pixels}, {},
                      [&](size_t index, RecordResult result) {
                        if (result.state == RecordState::kOk) records.emplace(index, std::move(result.block));
                        return true;
                      });
  }

  absl::Status AddRecord(const PinnedBytes& bytes_a, const PinnedBytes& bytes_b) {
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock a,
                                FeatureBlock::Parse(bytes_a.bytes, a_.store->profile()));
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock b,
                                FeatureBlock::Parse(bytes_b.bytes, b_.store->profile()));
    if (a.view_digest() != b.view_digest() || a.grid() != b.grid()) {
      ++num_other_views_;
      return absl::OkStatus();
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> tokens_a, a.Tokens());
    AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<uint16_t> tokens_b, b.Tokens());
    const auto [rows_a, rows_b] = CommonRows(tokens_a, tokens_b);
    for (size_t i = 0; i < pairs_.size(); ++i) {
      std::vector<float> values_a(rows_a.size() * a.width()), values_b(rows_b.size() * b.width());
      AFTERIMAGE_RETURN_IF_ERROR(a.ReadLevel(pairs_[i].a, rows_a, values_a));
      AFTERIMAGE_RETURN_IF_ERROR(b.ReadLevel(pairs_[i].b, rows_b, values_b));
      Comparison& comparison = comparisons_[i];
      if (comparison.cka.num_rows() < kCkaRows) comparison.cka.Add(values_a, values_b);
      if (a.width() == b.width()) comparison.error.AddRows(values_a, values_b, a.width());
    }
    ++num_records_;
    return absl::OkStatus();
  }

  const OpenedSet& a_;
  const OpenedSet& b_;
  const std::vector<LevelPair> pairs_;
  std::vector<Comparison> comparisons_;
  uint64_t num_records_ = 0;
  uint64_t num_other_views_ = 0;
};

void Print(const CompareFlags& flags, const Comparer& comparer) {
  if (!flags.json) {
    std::cout << absl::StrFormat("%d records in common were compared; errors are those of B against A\n",
                                 comparer.num_records());
    if (comparer.num_other_views() > 0) {
      std::cout << absl::StrFormat("%d more are of other views, and were left out\n",
                                   comparer.num_other_views());
    }
    std::cout << absl::StrFormat("%-7s %-7s %10s %10s %12s %13s %8s\n", "level A", "level B", "RMSE",
                                 "largest", "mean cosine", "worst cosine", "CKA");
  }
  for (size_t i = 0; i < comparer.pairs().size(); ++i) {
    const LevelPair& pair = comparer.pairs()[i];
    const Comparison& comparison = comparer.comparisons()[i];
    const CodecError& error = comparison.error;
    const bool same_width = error.num_values > 0;
    if (flags.json) {
      Json line = {{"event", "level"},
                   {"level_a", pair.a},
                   {"level_b", pair.b},
                   {"cka", comparison.cka.Value()},
                   {"records", comparer.num_records()},
                   {"records_of_other_views", comparer.num_other_views()}};
      if (same_width) {
        line.update({{"rmse", error.Rmse()},
                     {"largest_error", error.largest},
                     {"mean_cosine", error.MeanCosine()},
                     {"worst_token_cosine", error.worst_cosine}});
      }
      std::cout << JsonText(line) << "\n";
    } else if (same_width) {
      std::cout << absl::StrFormat("%-7d %-7d %10.5f %10.4f %12.6f %13.6f %8.5f\n", pair.a, pair.b,
                                   error.Rmse(), error.largest, error.MeanCosine(), error.worst_cosine,
                                   comparison.cka.Value());
    } else {
      std::cout << absl::StrFormat("%-7d %-7d %10s %10s %12s %13s %8.5f\n", pair.a, pair.b, "-", "-", "-",
                                   "-", comparison.cka.Value());
    }
  }
}

absl::Status RunCompare(const CompareFlags& flags) {
  InstallStopSignalHandlers();
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet a, OpenSelectedSet(flags, flags.a));
  AFTERIMAGE_ASSIGN_OR_RETURN(const SelectedSet b, OpenSelectedSet(flags, flags.b));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<ImageKey> keys_a, KeysOfSet(*a.cache.catalog, a.summary));
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::vector<ImageKey> keys_b, KeysOfSet(*b.cache.catalog, b.summary));
  std::vector<ImageKey> keys;
  std::ranges::set_intersection(keys_a, keys_b, std::back_inserter(keys));
  const uint64_t num_seeds = std::min(a.summary.num_view_seeds, b.summary.num_view_seeds);
  const uint64_t total = keys.size() * num_seeds;
  Comparer comparer(a.set, b.set);
  if (total == 0) return absl::FailedPreconditionError("the sets have no records in common");
  if (comparer.pairs().empty()) return absl::FailedPreconditionError("the sets have no levels in common");

  std::vector<RecordKey> sample;
  const uint64_t count = std::min(flags.samples, total);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t number = i * total / count;
    sample.push_back({keys[number % keys.size()], static_cast<uint32_t>(number / keys.size())});
  }
  Progress progress({.label = "compare",
                     .unit = "records",
                     .total = count,
                     .style = flags.json ? Progress::Style::kJson : Progress::Style::kAutomatic});
  for (size_t first = 0; first < sample.size(); first += kKeysPerRead) {
    if (StopRequested()) return absl::CancelledError("stopped");
    const size_t of_read = std::min<size_t>(kKeysPerRead, sample.size() - first);
    AFTERIMAGE_RETURN_IF_ERROR(comparer.Add(std::span(sample).subspan(first, of_read)));
    progress.Update(first + of_read);
  }
  progress.Finish();
  if (comparer.num_records() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("nothing to compare: of ", count, " records ", comparer.num_other_views(),
                     " are of other views, and the rest is missing in one of the sets"));
  }
  Print(flags, comparer);
  return absl::OkStatus();
}

}  // namespace

void AddCompareCommand(CLI::App& app, Runner& run) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App* command = app.add_subcommand(
      "compare", "two sets over their common records: RMSE, largest error, cosine, and CKA");
  AddCacheFlags(*command, *flags);
  command->add_option("a", flags->a, "name or id of the set that is taken as exact")->required();
  command->add_option("b", flags->b, "name or id of the other one")->required();
  command->add_option("--samples", flags->samples, "records, spread over images and view seeds")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 32))
      ->capture_default_str();
  command->add_flag("--json", flags->json, "a JSON line per level");
  command->callback([flags, &run] { run = [flags] { return RunCompare(*flags); }; });
}

}  // namespace afterimage::cli
