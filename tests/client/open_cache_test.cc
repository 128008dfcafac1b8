#include "client/open_cache.h"

#include <vector>

#include "cache_server/service/cache_server.h"
#include "core/order/epoch_reader.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TemporaryFolder;

// The digests of an epoch's records, in order.
std::vector<Digest128> ReadEpoch(EpochSource& source, const EpochRequest& request) {
  std::vector<Digest128> digests;
  absl::StatusOr<std::unique_ptr<EpochStream>> stream = source.Open(request);
  EXPECT_THAT(stream, IsOk());
  if (!stream.ok()) return digests;
  absl::StatusOr<std::optional<EpochFrame>> frame = (*stream)->Next();
  for (; frame.ok() && frame->has_value(); frame = (*stream)->Next()) {
    digests.push_back((*frame)->record_digest);
    (*stream)->ReturnCredit((*frame)->CostBytes());
  }
  EXPECT_THAT(frame, IsOk());
  return digests;
}

TEST(OpenCacheTest, AFolderIsMadeOnlyWhenAsked) {
  const TemporaryFolder folder;
  const std::string path = (folder / "cache").string();
  EXPECT_THAT(OpenCache(path), StatusIs(absl::StatusCode::kNotFound, HasSubstr(path)));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache made, OpenCache(path, {.create = true}));
  EXPECT_FALSE(made.is_remote);
  EXPECT_EQ(made.address, path);
  EXPECT_THAT(OpenCache(path), IsOk());
}

TEST(OpenCacheTest, AFolderAndItsServerAreTheSameCache) {
  const TemporaryFolder folder;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(OpenedCache local,
                                  OpenCache((folder / "cache").string(), {.create = true}));
  CacheServer::Options options;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto server,
                                  CacheServer::Start(local.catalog.get(), local.epoch_source.get(), options));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache remote, OpenCache(server->address()));
  EXPECT_TRUE(remote.is_remote);
  EXPECT_EQ(remote.address, server->address());

  // Computed through the server, read from both.
  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(40);
  AFTERIMAGE_ASSERT_OK(remote.catalog->CreateSet(description));
  AFTERIMAGE_ASSERT_OK(remote.catalog->PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  remote.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 2));

  EpochRequest request;
  request.set_id = description.set.Id();
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = manifest.num_occurrences();
  request.order.num_view_seeds = 2;
  request.order.mask.num_visible = 5;
  request.global_batch = 10;
  for (const uint64_t epoch : {0, 1}) {
    request.epoch = epoch;
    const std::vector<Digest128> from_folder = ReadEpoch(*local.epoch_source, request);
    EXPECT_EQ(from_folder.size(), 40);
    EXPECT_EQ(ReadEpoch(*remote.epoch_source, request), from_folder);
  }
}

TEST(OpenCacheTest, RefusesWhatIsNoAddressAndSaysWhatIs) {
  EXPECT_THAT(OpenCache(""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grpc://HOST:PORT")));
  EXPECT_THAT(OpenCache("http://a:1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unknown scheme")));
  EXPECT_THAT(OpenCache("grpc://nohost"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grpc://HOST:PORT")));
  EXPECT_THAT(OpenCache("unix:relative"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unix:/PATH")));
  EXPECT_THAT(OpenCache("grpc://127.0.0.1:1,nohost"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grpc://nohost")));
  EXPECT_THAT(OpenCache("grpc://127.0.0.1:1,,"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("grpc://HOST:PORT")));
}

TEST(OpenCacheTest, RefusesAccessThatTheAddressHasNoUseFor) {
  const auto refused = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(OpenCache("grpc://127.0.0.1:1", {.access = {.ca_file = "x"}}), refused("begins with grpcs://"));
  EXPECT_THAT(OpenCache("unix:/x", {.access = {.server_name = "x"}}), refused("begins with grpcs://"));
  EXPECT_THAT(OpenCache("/some/folder", {.access = {.token_file = "x"}}), refused("is a folder"));
}

TEST(OpenCacheTest, SeveralServersAreReadAsOneAndOneMayBeDown) {
  const TemporaryFolder folder;
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(OpenedCache local,
                                  OpenCache((folder / "cache").string(), {.create = true}));
  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(40);
  AFTERIMAGE_ASSERT_OK(local.catalog->CreateSet(description));
  AFTERIMAGE_ASSERT_OK(local.catalog->PutManifest(manifest));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  local.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
  AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 1));
  std::vector<std::unique_ptr<CacheServer>> servers;
  for (int i = 0; i < 3; ++i) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(servers.emplace_back(),
                                    CacheServer::Start(local.catalog.get(), local.epoch_source.get(), {}));
  }
  std::string address = servers[0]->address();
  for (int i = 1; i < 3; ++i) address += ",127.0.0.1:" + std::to_string(servers[i]->port());
  std::vector<std::string> told;
  const OpenCacheOptions options = {.message = [&](const std::string& text) { told.push_back(text); }};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache several, OpenCache(address, options));
  EXPECT_TRUE(several.is_remote);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const SetSummary summary, ResolveSet(*several.catalog, ""));
  EXPECT_EQ(summary.num_records, 40);

  EpochRequest request;
  request.set_id = description.set.Id();
  request.order.manifest = manifest.digest();
  request.order.num_occurrences = manifest.num_occurrences();
  request.order.mask.num_visible = 5;
  request.global_batch = 10;
  const std::vector<Digest128> from_folder = ReadEpoch(*local.epoch_source, request);
  EXPECT_EQ(from_folder.size(), 40);
  EXPECT_EQ(ReadEpoch(*several.epoch_source, request), from_folder);
  EXPECT_EQ(told.size(), 0);
  servers[1].reset();
  EXPECT_EQ(ReadEpoch(*several.epoch_source, request), from_folder);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache with_one_down, OpenCache(address, options));
  EXPECT_EQ(ReadEpoch(*with_one_down.epoch_source, request), from_folder);
  EXPECT_THAT(with_one_down.server_usage(), IsOk());
  servers.clear();
  EXPECT_THAT(OpenCache(address), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is it running?")));
}

}  // namespace
}  // namespace afterimage
