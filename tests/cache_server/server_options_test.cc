#include "cache_server/server_options.h"

#include <fstream>

#include "core/base/usage_error.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;
using testing::TemporaryFolder;

class ServerOptionsTest : public ::testing::Test {
 protected:
  std::string WriteConfig(const std::string& text) const {
    const std::string path = (folder_ / "server.conf").string();
    std::ofstream(path) << text;
    return path;
  }
  absl::StatusOr<ServerOptions> Parse(std::vector<std::string> arguments,
                                      const std::vector<std::string>& environment = {}) {
    std::vector<const char*> argv = {"afterimage-server"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return ParseServerOptions(static_cast<int>(argv.size()), argv.data(), environment, &exit_now_);
  }

  const TemporaryFolder folder_;
  ExitNow exit_now_;
};

TEST_F(ServerOptionsTest, FlagsWinOverTheEnvironmentOverTheFileOverTheDefaults) {
  const std::string config = WriteConfig(
      "# all four\ncache = /file\nmax-streams = 10\nreader-threads = 3   # cold disk\nquota = \"5GB\"\n");
  const std::vector<std::string> environment = {"HOME=/root", "AFTERIMAGE_SERVER_MAX_STREAMS=20",
                                                "AFTERIMAGE_SERVER_READER_THREADS=4"};
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const ServerOptions options,
      Parse({"--config", config, "--reader-threads", "5", "--insecure"}, environment));
  EXPECT_EQ(options.cache, "/file");
  EXPECT_EQ(options.quota_bytes, 5'000'000'000);
  EXPECT_EQ(options.max_streams, 20);
  EXPECT_EQ(options.reader_threads, 5);
  EXPECT_EQ(options.listen, ServerOptions().listen);
  EXPECT_TRUE(options.insecure);
  EXPECT_THAT(options.Print(),
              AllOf(HasSubstr("cache = /file  # file " + config + "\n"),
                    HasSubstr("max-streams = 20  # environment\n"), HasSubstr("reader-threads = 5  # flag\n"),
                    HasSubstr("listen = 127.0.0.1:4747  # default\n"), HasSubstr("insecure = true  # flag\n"),
                    HasSubstr("# tokens =   # default\n")));
}

TEST_F(ServerOptionsTest, WhatPrintConfigPrintsIsAConfigFile) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ServerOptions options,
                                  Parse({"--cache", "/x", "--max-streams", "7", "--tls-cert", "/c",
                                         "--create", "--log", "all", "--no-shared-memory"}));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const ServerOptions again,
                                  Parse({"--config=" + WriteConfig(options.Print())}));
  EXPECT_EQ(again.cache, "/x");
  EXPECT_EQ(again.max_streams, 7);
  EXPECT_EQ(again.tls.certificate, "/c");
  EXPECT_TRUE(again.create);
  EXPECT_FALSE(again.shared_memory);
  EXPECT_TRUE(ServerOptions().shared_memory);
  EXPECT_EQ(again.log, CallLog::Level::kAll);
  EXPECT_FALSE(again.insecure);
}

TEST_F(ServerOptionsTest, UnknownNamesAndValuesThatMakeNoSenseAreToldWithTheirPlace) {
  const auto file = [&](const std::string& text) {
    return Parse({"--cache", "/x", "--config", WriteConfig(text)});
  };
  const auto is_refused = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(file("\nmax-steams = 4\n"), is_refused("server.conf, line 2: there is no setting max-steams"));
  EXPECT_THAT(file("config = /y\n"), is_refused("no setting config"));
  EXPECT_THAT(file("max-streams 4\n"), is_refused("line 1: expected NAME = VALUE"));
  EXPECT_THAT(file("max-streams = 0\n"), is_refused("line 1: --max-streams"));
  EXPECT_THAT(file("max-streams = 4\nmax-streams = 5\n"),
              is_refused("line 2: max-streams is set a second time"));
  EXPECT_THAT(file("create = maybe\n"), is_refused("line 1: "));
  EXPECT_THAT(file("log = loud\n"), is_refused("line 1: --log: loud not in {"));
  EXPECT_THAT(Parse({"--cache", "/x"}, {"AFTERIMAGE_SERVER_LISTEM=y"}),
              is_refused("AFTERIMAGE_SERVER_LISTEM"));
  EXPECT_THAT(Parse({"--cache", "/x"}, {"AFTERIMAGE_SERVER_MAX_STREAMS=many"}),
              is_refused("AFTERIMAGE_SERVER_MAX_STREAMS: "));
  EXPECT_THAT(Parse({"--config", (folder_ / "not").string()}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("not")));
}

TEST_F(ServerOptionsTest, TheVariablesOfAKubernetesServiceAreNotOurs) {
  EXPECT_THAT(
      Parse({"--cache", "/x"},
            {"AFTERIMAGE_SERVER_SERVICE_HOST=10.0.0.1", "AFTERIMAGE_SERVER_SERVICE_PORT_GRPC=4747",
             "AFTERIMAGE_SERVER_PORT=tcp://10.0.0.1:4747", "AFTERIMAGE_SERVER_PORT_4747_TCP_ADDR=10.0.0.1",
             "AFTERIMAGE_SERVER_PORT_9090_TCP_PROTO=tcp"}),
      IsOk());
}

TEST_F(ServerOptionsTest, HelpAndWrongFlagsEndIt) {
  EXPECT_THAT(Parse({"--help"}), StatusIs(absl::StatusCode::kCancelled, HasSubstr("answered")));
  EXPECT_EQ(exit_now_.status, 0);
  EXPECT_THAT(Parse({}), StatusIs(absl::StatusCode::kCancelled, HasSubstr("answered")));
  EXPECT_EQ(exit_now_.status, kUsageExitStatus);
  EXPECT_THAT(Parse({"--cache", "/x", "--max-streams", "0"}),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("answered")));
  EXPECT_EQ(exit_now_.status, kUsageExitStatus);
}

}  // namespace
}  // namespace afterimage
