// The binary afterimage-server, as a user starts and stops it.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "client/open_cache.h"
#include "gmock/gmock.h"
#include "tests/cache_server/server_process.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/synthetic_records.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ServerProcess;
using testing::StatusIs;
using testing::TemporaryFolder;

TEST(ServerBinaryTest, ServesAFolderAndStopsOnSigterm) {
  const TemporaryFolder folder;
  ServerProcess server(folder.path(), ServerProcess::Arguments(folder.path()));
  const int port = server.WaitUntilReady();
  ASSERT_GT(port, 0) << server.Output();
  const std::string address = "grpc://127.0.0.1:" + std::to_string(port);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(address));
  EXPECT_THAT(cache.catalog->CreateSet(testing::MakeSyntheticDescription()), IsOk());
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
  EXPECT_THAT(server.Output(), AllOf(HasSubstr("serving " + (folder / "cache").string()),
                                     HasSubstr("at " + address), HasSubstr("stopped")));
  EXPECT_FALSE(std::filesystem::exists(folder / "port"));
  EXPECT_THAT(OpenCache(address), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
}

TEST(ServerBinaryTest, WhatWasPublishedSurvivesKill9) {
  const TemporaryFolder folder;
  const SetDescription description = testing::MakeSyntheticDescription();
  const Manifest manifest = testing::MakeSyntheticManifest(20);
  const std::string address = "unix:" + (folder / "socket").string();
  const std::vector<std::string> arguments = ServerProcess::Arguments(folder.path(), address);
  {
    ServerProcess server(folder.path(), arguments);
    ASSERT_EQ(server.WaitUntilReady(), 0) << server.Output();
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(address));
    AFTERIMAGE_ASSERT_OK(cache.catalog->CreateSet(description));
    AFTERIMAGE_ASSERT_OK(cache.catalog->PutManifest(manifest));
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                    cache.catalog->OpenSet(description.set.Id(), OpenMode::kContribute));
    AFTERIMAGE_ASSERT_OK(testing::FillSet(set, manifest.digest(), 1));
    server.Signal(SIGKILL);
    EXPECT_EQ(server.Wait(), 128 + SIGKILL);
  }
  ServerProcess server(folder.path(), arguments);  // at the socket file that the dead one left
  ASSERT_EQ(server.WaitUntilReady(), 0) << server.Output();
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedCache cache, OpenCache(address));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const OpenedSet set,
                                  cache.catalog->OpenSet(description.set.Id(), OpenMode::kRead));
  for (const ImageKey& key : manifest.keys()) EXPECT_THAT(ReadOne(*set.store, {key, 0}), IsOk());
}

TEST(ServerBinaryTest, APortInUseIsOneClearLine) {
  const TemporaryFolder folder;
  ServerProcess first(folder.path(), ServerProcess::Arguments(folder.path()));
  const int port = first.WaitUntilReady();
  ASSERT_GT(port, 0) << first.Output();
  const TemporaryFolder other;
  const std::string listen = "127.0.0.1:" + std::to_string(port);
  ServerProcess second(other.path(), ServerProcess::Arguments(other.path(), listen));
  EXPECT_EQ(second.Wait(), 1);
  const std::string output = second.Output();
  EXPECT_THAT(output, AllOf(HasSubstr("cannot listen on " + listen), HasSubstr("in use")));
  EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
}

TEST(ServerBinaryTest, RefusesUnknownFlagsAndFoldersThatAreNoCache) {
  const TemporaryFolder folder;
  {
    ServerProcess server(folder.path(), {"--cache", folder.path().string(), "--lisen", "127.0.0.1:0"});
    EXPECT_NE(server.Wait(), 0);
    EXPECT_THAT(server.Output(), AllOf(HasSubstr("--lisen"), HasSubstr("--help")));
  }
  ServerProcess server(folder.path(), {"--cache", (folder / "nothing").string(), "--listen", "127.0.0.1:0"});
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.Output(), HasSubstr((folder / "nothing").string()));
}

TEST(ServerBinaryTest, AJsonLogTakesAPathThatIsNoText) {
  const TemporaryFolder folder;
  ServerProcess server(
      folder.path(), {"--cache", (folder / "no\xfftext").string(), "--listen", "127.0.0.1:0", "--log-json"});
  EXPECT_EQ(server.Wait(), 1);
  EXPECT_THAT(server.Output(), AllOf(HasSubstr("\"event\":\"failed\""), HasSubstr("no\xef\xbf\xbdtext")));
}

}  // namespace
}  // namespace afterimage
