// Several servers, here sources in this process, and what may go wrong with them.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/remote/merged_epoch_source.h"
#include "core/base/status_macros.h"
#include "core/feature/in_memory_cache.h"
#include "core/order/epoch_positions.h"
#include "core/order/epoch_reader.h"
#include "core/order/running_digest.h"
#include "gtest/gtest.h"
#include "tests/testing/observed_catalog.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"

namespace afterimage::testing {

// Someone else's catalog, without owning it.
template <typename T>
std::shared_ptr<T> NotOwned(T* pointer) {
  return std::shared_ptr<T>(pointer, [](T*) {});
}

inline ServerGroup::Entry EntryOf(const std::string& address, FeatureCatalog* catalog,
                                  std::shared_ptr<EpochSource> epochs) {
  return {address, [catalog, epochs]() -> absl::StatusOr<ServerGroup::Server> {
            return ServerGroup::Server{NotOwned(catalog), epochs, nullptr};
          }};
}

// What may go wrong with a server.
struct Trouble {
  std::atomic<int64_t> frames_until_gone = int64_t{1} << 40;  // then Unavailable, and Open too
  std::atomic<bool> hangs = false;                            // Next waits for Cancel
  std::atomic<int64_t> stalls_at = -1;     // Next waits before this position, until it is another
  std::atomic<bool> no_positions = false;  // explicit ones are refused, as by an old server
  std::atomic<int64_t> delay_us = 0;       // of each frame
  std::atomic<uint64_t> frames = 0;        // that it has sent
  std::atomic<uint64_t> cost = 0;          // of them
  std::atomic<uint64_t> credit = 0;        // that it was given back
  std::atomic<bool> held_up = false;       // says so
  StallTimes waited;                       // says so with each frame
};

class TroubledStream : public EpochStream {
 public:
  TroubledStream(std::unique_ptr<EpochStream> stream, const EpochRequest& request,
                 std::shared_ptr<Trouble> trouble)
      : stream_(std::move(stream)), positions_(request), trouble_(std::move(trouble)) {
    next_position_ = positions_.size() > 0 ? positions_[0] : ~uint64_t{0};
  }

  absl::StatusOr<std::optional<EpochFrame>> Next() override {
    while ((trouble_->hangs || trouble_->stalls_at == static_cast<int64_t>(next_position_)) && !cancelled_) {
      if (interrupted_.exchange(false)) return absl::AbortedError("interrupted");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (trouble_->frames_until_gone-- <= 0) return absl::UnavailableError("gone");
    const absl::Time ready = absl::Now() + absl::Microseconds(trouble_->delay_us.load());
    while (absl::Now() < ready) {
      if (interrupted_.exchange(false)) return absl::AbortedError("interrupted");
      absl::SleepFor(std::min(absl::Milliseconds(1), ready - absl::Now()));
    }
    ++trouble_->frames;
    absl::StatusOr<std::optional<EpochFrame>> frame = stream_->Next();
    if (frame.ok() && frame->has_value()) {
      (*frame)->waited = trouble_->waited;
      trouble_->cost += (*frame)->CostBytes();
    }
    ++index_;
    next_position_ = index_ < positions_.size() ? positions_[index_] : ~uint64_t{0};
    return frame;
  }
  void Interrupt() override { interrupted_ = true; }
  bool IsHeldUp() const override { return trouble_->held_up; }
  void ReturnCredit(uint64_t bytes) override {
    trouble_->credit += bytes;
    stream_->ReturnCredit(bytes);
  }
  void Cancel() override {
    cancelled_ = true;
    stream_->Cancel();
  }

 private:
  const std::unique_ptr<EpochStream> stream_;
  const EpochPositions positions_;
  const std::shared_ptr<Trouble> trouble_;
  uint64_t index_ = 0;
  uint64_t next_position_ = 0;
  std::atomic<bool> interrupted_ = false;
  std::atomic<bool> cancelled_ = false;
};

class TroubledSource : public EpochSource {
 public:
  TroubledSource(FeatureCatalog* catalog, std::shared_ptr<Trouble> trouble)
      : reader_(catalog, {}), trouble_(std::move(trouble)) {}

  absl::StatusOr<std::unique_ptr<EpochStream>> Open(const EpochRequest& request) override {
    if (trouble_->frames_until_gone <= 0) return absl::UnavailableError("gone");
    if (trouble_->no_positions && !request.positions.empty())
      return absl::FailedPreconditionError("it knows no positions");
    AFTERIMAGE_ASSIGN_OR_RETURN(std::unique_ptr<EpochStream> stream, reader_.Open(request));
    return std::make_unique<TroubledStream>(std::move(stream), request, trouble_);
  }

 private:
  EpochReader reader_;
  const std::shared_ptr<Trouble> trouble_;
};

class MergedEpochFixture : public ::testing::Test {
 protected:
  static constexpr uint64_t kNumPictures = 96;
  static constexpr int kNumServers = 3;
  static constexpr int kMostServers = 4;

  void SetUp() override {
    for (int i = 0; i < kMostServers; ++i) {
      PrepareCatalog(catalogs_[i]);
      observed_.push_back(std::make_unique<ObservedCatalog>(&catalogs_[i]));
      trouble_.push_back(std::make_shared<Trouble>());
    }
    PrepareCatalog(whole_);
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    whole_.OpenSet(description_.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
    request_.set_id = description_.set.Id();
    request_.order.manifest = manifest_.digest();
    request_.order.num_occurrences = kNumPictures;
    request_.order.order_seed = 3;
    request_.order.mask.num_visible = 5;
    request_.global_batch = 12;
    request_.credit_bytes = 256 << 10;
    request_.selection.tokens = Selection::Tokens::kMask;
  }

  void PrepareCatalog(InMemoryFeatureCatalog& catalog) const {
    EXPECT_THAT(catalog.CreateSet(description_), IsOk());
    EXPECT_THAT(catalog.PutManifest(manifest_), IsOk());
  }
  void FillAll() {
    for (InMemoryFeatureCatalog& catalog : catalogs_) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                      catalog.OpenSet(description_.set.Id(), OpenMode::kContribute));
      AFTERIMAGE_ASSERT_OK(FillSet(set, manifest_.digest(), 1));
    }
  }
  // Unit u of the set only on server u mod n.
  void FillParts() {
    for (int i = 0; i < kNumServers; ++i) {
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                      catalogs_[i].OpenSet(description_.set.Id(), OpenMode::kContribute));
      ClaimRequest claim;
      claim.manifest = manifest_.digest();
      claim.num_view_seeds = 1;
      claim.worker = "w";
      claim.max_units = 100;
      claim.lease_duration = absl::Minutes(10);
      AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ClaimResult result, set.ledger->Claim(claim));
      ASSERT_GE(result.units.size(), kNumServers);
      for (size_t u = i; u < result.units.size(); u += kNumServers)
        AFTERIMAGE_ASSERT_OK(PublishClaimed(set, result.units[u]));
    }
  }

  std::shared_ptr<ServerGroup> Group() {
    std::vector<ServerGroup::Entry> entries;
    for (int i = 0; i < num_servers_; ++i) {
      entries.push_back(EntryOf(absl::StrCat("server-", i), observed_[i].get(),
                                std::make_shared<TroubledSource>(&catalogs_[i], trouble_[i])));
    }
    return std::make_shared<ServerGroup>(std::move(entries));
  }
  std::unique_ptr<MergedEpochSource> Merged(MergedEpochSource::Options options = {}) {
    options.message = [this](const std::string& text) {
      std::lock_guard lock(mutex_);
      absl::StrAppend(&messages_, text, "\n");
    };
    return std::make_unique<MergedEpochSource>(Group(), options);
  }

  // Positions, keys and states must be in order; returns the running digest.
  std::string DigestOf(EpochSource& source, const EpochRequest& request) {
    absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(request);
    EXPECT_THAT(stream, IsOk());
    if (!stream.ok()) return "";
    std::vector<StepSum> sums(StepsPerEpoch(request.order, request.global_batch));
    uint64_t position = 0;
    while (true) {
      absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
      EXPECT_THAT(frame, IsOk());
      if (!frame.ok() || !frame->has_value()) break;
      EXPECT_EQ((*frame)->position, position++);
      sums.at((*frame)->step)
          .Add(SampleSum((*frame)->position, (*frame)->key, (*frame)->mask_index, (*frame)->state,
                         (*frame)->record_digest));
      num_hedged_ += (*frame)->hedged;
      (*stream)->ReturnCredit((*frame)->CostBytes());
    }
    EXPECT_EQ(position, sums.size() * request.global_batch);
    Digest128 digest = EpochStartDigest(request.set_id, request.order.Id(), request.epoch);
    for (uint64_t step = 0; step < sums.size(); ++step) digest = AdvanceDigest(digest, step, sums[step]);
    return digest.Hex();
  }
  std::string WantedDigest() {
    EpochReader reader(&whole_, {});
    return DigestOf(reader, request_);
  }
  std::string messages() {
    std::lock_guard lock(mutex_);
    return messages_;
  }

  const SetDescription description_ =
      MakeSyntheticDescription({.layout = {.num_shards = 6, .seeds_per_unit = 1}});
  const Manifest manifest_ = MakeSyntheticManifest(kNumPictures);
  InMemoryFeatureCatalog whole_;
  InMemoryFeatureCatalog catalogs_[kMostServers];
  int num_servers_ = kNumServers;
  std::vector<std::unique_ptr<ObservedCatalog>> observed_;  // of catalogs_, for reads by key
  std::vector<std::shared_ptr<Trouble>> trouble_;
  EpochRequest request_;
  uint64_t num_hedged_ = 0;  // frames of DigestOf
  std::mutex mutex_;
  std::string messages_;
};

}  // namespace afterimage::testing
