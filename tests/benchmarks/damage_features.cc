// Controls of codec_harm.sh: a set of f32 written into another cache with features that must harm a student.
//
//   damage_features FROM SET TO coarse     every value rounded to steps of two deviations of its channel
//   damage_features FROM SET TO shuffled   each record has the features of another picture's view
//
// FROM: a cache folder with the named set. TO: a new folder. Prints the RMSE of what was written.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "client/open_cache.h"
#include "core/feature/feature_block.h"
#include "core/feature/profile_builder.h"
#include "tests/benchmarks/support.h"

namespace afterimage::benchmarks {
namespace {

constexpr double kStepInDeviations = 2;

FeatureRecord ReadRecord(FeatureStore& store, const RecordKey& key) {
  FeatureRecord record;
  Require(store.Read(std::vector{key}, {}, {}, [&](size_t, RecordResult result) {
    if (result.state != RecordState::kOk) Require(absl::DataLossError(key.ToString() + ": " + result.reason));
    record = Require(Require(FeatureBlock::Parse(result.block.bytes)).ToRecord());
    return true;
  }));
  return record;
}

ProfileContent Moments(FeatureStore& store, const Manifest& manifest) {
  const SetDescription& description = store.description();
  ProfileBuilder builder(description.set.feature_id, description.set.levels,
                         description.feature.geometry.width);
  for (const ImageKey& key : manifest.keys()) Require(builder.Add(ReadRecord(store, {key, 0})));
  return Require(builder.Finish()).content();
}

void Coarsen(const ProfileContent& moments, FeatureRecord& record) {
  for (size_t l = 0; l < record.levels.size(); ++l) {
    const LevelProfile& channels = moments.levels[l];
    std::vector<float>& values = record.levels[l].values;
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t c = i % channels.mean.size();
      const double step = kStepInDeviations * channels.sigma[c];
      if (!(step > 0)) continue;
      values[i] =
          static_cast<float>(channels.mean[c] + step * std::round((values[i] - channels.mean[c]) / step));
    }
  }
}

void Main(const std::string& from, const std::string& set_name, const std::string& to, bool shuffled) {
  const OpenedCache source = Require(OpenCache(from));
  const SetSummary summary = Require(ResolveSet(*source.catalog, set_name));
  const OpenedSet set = Require(source.catalog->OpenSet(summary.id, OpenMode::kRead));
  const auto manifest = Require(source.catalog->GetManifest(summary.manifests.at(0)));
  const ProfileContent moments = shuffled ? ProfileContent() : Moments(*set.store, *manifest);

  const OpenedCache target = Require(OpenCache(to, {.create = true}));
  Require(target.catalog->PutManifest(*manifest));
  Require(target.catalog->CreateSet(summary.description));
  const OpenedSet damaged = Require(target.catalog->OpenSet(summary.id, OpenMode::kContribute));
  const std::vector<ImageKey> keys(manifest->keys().begin(), manifest->keys().end());
  double squares = 0, count = 0;
  const ClaimRequest request{
      .manifest = manifest->digest(), .num_view_seeds = summary.num_view_seeds, .worker = "damage"};
  for (;;) {
    const ClaimResult claimed = Require(damaged.ledger->Claim(request));
    if (claimed.all_complete) break;
    for (const ClaimedUnit& unit : claimed.units) {
      const std::unique_ptr<UnitWriter> writer = Require(damaged.publisher->Open(unit.lease));
      for (const RecordKey& key : unit.wanted) {
        FeatureRecord record = ReadRecord(*set.store, key);
        const std::vector<LevelFeatures> exact = record.levels;
        if (shuffled) {
          const size_t at = std::ranges::lower_bound(keys, key.image) - keys.begin();
          const ImageKey& other = keys[(at + keys.size() / 2) % keys.size()];
          record.levels = ReadRecord(*set.store, {other, key.view_seed}).levels;
        } else {
          Coarsen(moments, record);
        }
        for (size_t l = 0; l < exact.size(); ++l) {
          for (size_t i = 0; i < exact[l].values.size(); ++i) {
            const double error = record.levels[l].values[i] - exact[l].values[i];
            squares += error * error;
          }
          count += static_cast<double>(exact[l].values.size());
        }
        Require(writer->Add(key, AsBytes(Require(EncodeFeatureBlock(record, Codec::kF32)))));
      }
      UnitMetadata metadata;
      metadata.worker = "damage";
      metadata.num_records = unit.wanted.size();
      Require(writer->Publish(metadata));
    }
  }
  std::printf("RMSE %.4f over %.0f values\n", std::sqrt(squares / count), count);
}

}  // namespace
}  // namespace afterimage::benchmarks

int main(int argc, char** argv) {
  const std::string kind = argc == 5 ? argv[4] : "";
  if (kind != "coarse" && kind != "shuffled") {
    std::fprintf(stderr, "damage_features FROM SET TO coarse|shuffled\n");
    return EXIT_FAILURE;
  }
  afterimage::benchmarks::Main(argv[1], argv[2], argv[3], kind == "shuffled");
  return EXIT_SUCCESS;
}
