// A server with TLS, client certificates and tokens, and every program let in by its flags.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "gmock/gmock.h"
#include "tests/integration/programs.h"
#include "tests/testing/certificates.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::Arguments;
using testing::CertificateAndKey;
using testing::Finished;
using ::testing::HasSubstr;
using testing::MakeAuthority;
using testing::MakeCertificate;
using ::testing::Not;
using testing::ProgramsTest;
using testing::RunProgram;
using testing::Server;
using testing::WriteImages;

constexpr char kWriter[] = "writer-0123456789abcdef";
constexpr char kStranger[] = "stranger-0123456789abcdef";

Arguments operator+(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

class AccessTest : public ProgramsTest {
 protected:
  AccessTest() {
    WriteImages(images_, 32);
    const CertificateAndKey authority = MakeAuthority("authority");
    Write("ca.pem", authority.certificate);
    for (const std::string name : {"server", "client"}) {
      const CertificateAndKey pair = MakeCertificate(name, authority);
      Write(name + ".pem", pair.certificate);
      Write(name + ".key", pair.key);
    }
    Write("tokens", absl::StrCat("write ", kWriter, " workers\n"));
    Write("mine", absl::StrCat(kWriter, "\n"));
    Write("other", absl::StrCat(kStranger, "\n"));
    server_ = std::make_unique<Server>(
        Path("cache"), "127.0.0.1:0",
        Arguments{"--tls-cert", Path("server.pem"), "--tls-key", Path("server.key"), "--tls-client-ca",
                  Path("ca.pem"), "--tokens", Path("tokens"), "--log", "all"});
    address_ = absl::StrCat("grpcs://", server_->listen());
  }
  void Write(const std::string& name, const std::string& text) const { std::ofstream(Path(name)) << text; }
  Arguments Access(const std::string& token = "mine") const {
    return {"--tls-ca",  Path("ca.pem"),     "--tls-cert",   Path("client.pem"),
            "--tls-key", Path("client.key"), "--token-file", Path(token)};
  }

  std::unique_ptr<Server> server_;
  std::string address_;
};

TEST_F(AccessTest, EveryProgramIsLetInByItsFlagsAndTellsNoToken) {
  const Finished precompute = Precompute(address_, Access());
  EXPECT_EQ(precompute.status, 0) << precompute.Text();
  const Finished info = Afterimage(Arguments{"info", "--cache", address_} + Access());
  EXPECT_EQ(info.status, 0) << info.Text();
  EXPECT_THAT(info.out, HasSubstr("1 set"));
  const Finished keys = Afterimage(Arguments{"keys", "--cache", address_} + Access());
  EXPECT_EQ(keys.status, 0) << keys.Text();
  const Finished bench =
      Afterimage(Arguments{"stream-bench", "--cache", address_, "--batch", "16", "--ranks", "2"} + Access());
  EXPECT_EQ(bench.status, 0) << bench.Text();
  // Two addresses of one server: each of several servers is given the same.
  const Finished train =
      Pretrain(absl::StrCat(address_, ",", server_->listen()), "run", Access() + Arguments{"--epochs", "1"});
  EXPECT_EQ(train.status, 0) << train.Text();

  std::string all = server_->process().Out() + server_->process().Err();
  for (const Finished& one : {precompute, info, keys, bench, train}) all += one.Text();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Path("run")))
    if (entry.is_regular_file()) all += ReadFile(entry.path()).value_or("");
  EXPECT_THAT(all, AllOf(Not(HasSubstr(kWriter)), HasSubstr("workers")));
}

TEST_F(AccessTest, WhoIsNotLetInIsToldWhichFlagIsMissing) {
  const auto error = [&](const std::string& address, const Arguments& access) {
    const Finished finished = Afterimage(Arguments{"info", "--cache", address} + access);
    EXPECT_NE(finished.status, 0) << finished.out;
    return finished.err;
  };
  const Arguments tls = {"--tls-ca",         Path("ca.pem"), "--tls-cert",
                         Path("client.pem"), "--tls-key",    Path("client.key")};
  EXPECT_THAT(error(address_, tls), HasSubstr("--token-file"));
  EXPECT_THAT(error(address_, Access("other")), AllOf(HasSubstr("none of"), Not(HasSubstr(kStranger))));
  EXPECT_THAT(error(address_, Access("nothing")), HasSubstr(Path("nothing")));
  EXPECT_THAT(error(address_, {"--token-file", Path("mine")}), HasSubstr("--tls-ca"));
  EXPECT_THAT(error(address_, {"--tls-ca", Path("ca.pem"), "--token-file", Path("mine")}),
              HasSubstr("--tls-cert, --tls-key"));
  EXPECT_THAT(error(address_, {"--tls-cert", Path("client.pem")}), HasSubstr("--tls-key"));
  EXPECT_THAT(error(server_->address(), {}), AllOf(HasSubstr("speaks TLS"), HasSubstr("--tls-ca")));
  EXPECT_THAT(error(server_->address(), Access()), HasSubstr("begins with grpcs://"));
  EXPECT_THAT(error(Path("cache"), {"--token-file", Path("mine")}), HasSubstr("is a folder"));

  // The server has logged what it refused, and not the token.
  EXPECT_THAT(server_->process().Out() + server_->process().Err(),
              AllOf(HasSubstr("UNAUTHENTICATED"), Not(HasSubstr(kStranger))));

  const Server plain(Path("plain"));
  EXPECT_THAT(error(absl::StrCat("grpcs://", plain.listen()), tls),
              AllOf(HasSubstr("speaks no TLS"), HasSubstr(plain.address())));
}

TEST_F(AccessTest, FlagsWinOverTheEnvironment) {
  setenv("AFTERIMAGE_TLS_CA", Path("ca.pem").c_str(), 1);
  setenv("AFTERIMAGE_TLS_CERT", Path("client.pem").c_str(), 1);
  setenv("AFTERIMAGE_TLS_KEY", Path("client.key").c_str(), 1);
  setenv("AFTERIMAGE_TOKEN_FILE", Path("other").c_str(), 1);
  const Finished from_environment = Afterimage({"info", "--cache", address_});
  const Finished with_flag = Afterimage({"info", "--cache", address_, "--token-file", Path("mine")});
  for (const char* name :
       {"AFTERIMAGE_TLS_CA", "AFTERIMAGE_TLS_CERT", "AFTERIMAGE_TLS_KEY", "AFTERIMAGE_TOKEN_FILE"})
    unsetenv(name);
  EXPECT_THAT(from_environment.err, HasSubstr("none of this server's"));
  EXPECT_EQ(with_flag.status, 0) << with_flag.Text();
}

}  // namespace
}  // namespace afterimage
