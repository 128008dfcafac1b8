// Who is let in: TLS, certificates of clients, tokens.
#include "client/remote/server_access.h"

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "cache_server/service/token_file.h"
#include "client/remote/connection.h"
#include "client/remote/remote_catalog.h"
#include "gmock/gmock.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/certificates.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using testing::CertificateAndKey;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::MakeAuthority;
using testing::MakeCertificate;
using ::testing::Not;
using testing::ServedCache;
using testing::StatusIs;
using testing::TemporaryFolder;

constexpr char kReader[] = "reader-0123456789abcdef";
constexpr char kWriter[] = "writer-0123456789abcdef";
constexpr char kAdmin[] = "admin--0123456789abcdef";

class ServerAccessTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  ServerTlsFiles WriteServerFiles(const CertificateAndKey& pair) const {
    return {Write("server.pem", pair.certificate), Write("server.key", pair.key), ""};
  }
  static absl::Status Open(const std::string& address, const ServerAccess& access) {
    return Connection::Open(address, {.retry_for = absl::ZeroDuration(), .access = access}).status();
  }

  const TemporaryFolder folder_;
  const CertificateAndKey authority_ = MakeAuthority("authority");
  const std::string ca_ = Write("ca.pem", authority_.certificate);
  const CertificateAndKey other_authority_ = MakeAuthority("another authority");
};

TEST_F(ServerAccessTest, TlsLetsInWhoTrustsTheAuthority) {
  CacheServer::Options options;
  options.tls = WriteServerFiles(MakeCertificate("server", authority_));
  ServedCache served(options);
  EXPECT_THAT(served.address(), ::testing::StartsWith("grpcs://127.0.0.1:"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto connection,
                                  Connection::Open(served.address(), {.access = {.ca_file = ca_}}));
  // Epochs, too.
  const EpochRequest request = served.Fill(20);
  RemoteEpochSource source(connection);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
  EXPECT_TRUE(frame.has_value());

  const std::string other_ca = Write("other.pem", other_authority_.certificate);
  EXPECT_THAT(
      Open(served.address(), {.ca_file = other_ca}),
      StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(served.address()), HasSubstr(other_ca))));
  EXPECT_THAT(Open(served.address(), {}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--tls-ca")));
}

TEST_F(ServerAccessTest, ThePlainAddressOfATlsServerIsToldFromNoServer) {
  CacheServer::Options options;
  options.tls = WriteServerFiles(MakeCertificate("server", authority_));
  ServedCache served(options);
  const std::string plain = absl::StrReplaceAll(served.address(), {{"grpcs://", "grpc://"}});
  EXPECT_THAT(Open(plain, {}), StatusIs(absl::StatusCode::kFailedPrecondition,
                                        AllOf(HasSubstr("speaks TLS"), HasSubstr(served.address()))));
  served.StopServer();
}

TEST_F(ServerAccessTest, ATlsAddressOfAPlainServerNamesThePlainOne) {
  const ServedCache served;
  const std::string with_tls = absl::StrReplaceAll(served.address(), {{"grpc://", "grpcs://"}});
  EXPECT_THAT(
      Open(with_tls, {.ca_file = ca_}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("speaks no TLS: write " + served.address())));
}

TEST_F(ServerAccessTest, WhatIsNotSaidComesFromTheEnvironment) {
  setenv("AFTERIMAGE_TLS_CA", "ca of the environment", 1);
  setenv("AFTERIMAGE_TLS_CERT", "certificate of the environment", 1);
  setenv("AFTERIMAGE_TLS_KEY", "key of the environment", 1);
  setenv("AFTERIMAGE_TOKEN_FILE", "token of the environment", 1);
  const ServerAccess nothing = ServerAccess().OrEnvironment();
  const ServerAccess some =
      ServerAccess{.certificate_file = "certificate", .token_file = "token"}.OrEnvironment();
  for (const char* name :
       {"AFTERIMAGE_TLS_CA", "AFTERIMAGE_TLS_CERT", "AFTERIMAGE_TLS_KEY", "AFTERIMAGE_TOKEN_FILE"})
    unsetenv(name);
  EXPECT_EQ(nothing.ca_file, "ca of the environment");
  EXPECT_EQ(nothing.certificate_file, "certificate of the environment");
  EXPECT_EQ(nothing.key_file, "key of the environment");
  EXPECT_EQ(nothing.token_file, "token of the environment");
  EXPECT_EQ(some.ca_file, "ca of the environment");
  EXPECT_EQ(some.certificate_file, "certificate");
  EXPECT_EQ(some.key_file, "") << "of another certificate";
  EXPECT_EQ(some.token_file, "token");
  EXPECT_FALSE(ServerAccess().OrEnvironment().HasAny());
}

TEST_F(ServerAccessTest, MutualTlsWantsACertificateOfTheClient) {
  CacheServer::Options options;
  options.tls = WriteServerFiles(MakeCertificate("server", authority_));
  options.tls.client_ca = ca_;
  ServedCache served(options);
  const CertificateAndKey client = MakeCertificate("client", authority_);
  ServerAccess access = {.ca_file = ca_,
                         .certificate_file = Write("client.pem", client.certificate),
                         .key_file = Write("client.key", client.key)};
  EXPECT_THAT(Open(served.address(), access), IsOk());
  EXPECT_THAT(Open(served.address(), {.ca_file = ca_}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--tls-cert")));
  const CertificateAndKey stranger = MakeCertificate("stranger", other_authority_);
  access.certificate_file = Write("stranger.pem", stranger.certificate);
  access.key_file = Write("stranger.key", stranger.key);
  EXPECT_THAT(Open(served.address(), access),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(served.address())));
}

TEST_F(ServerAccessTest, ARenewedCertificateIsServedWithoutARestart) {
  CacheServer::Options options;
  options.tls = WriteServerFiles(MakeCertificate("server", other_authority_));
  ServedCache served(options);
  EXPECT_THAT(Open(served.address(), {.ca_file = ca_}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(ca_)));
  WriteServerFiles(MakeCertificate("server", authority_));
  absl::Status status = absl::UnknownError("not tried");
  for (int i = 0; i < 60 && !status.ok(); ++i) {
    status = Open(served.address(), {.ca_file = ca_});
    absl::SleepFor(absl::Milliseconds(500));
  }
  EXPECT_THAT(status, IsOk());
}

TEST_F(ServerAccessTest, FilesThatAreNoneAreToldAtTheStart) {
  const CertificateAndKey pair = MakeCertificate("server", authority_);
  const std::string certificate = Write("server.pem", pair.certificate), key = Write("server.key", pair.key);
  const std::string other_key = Write("other.key", MakeCertificate("other", authority_).key);
  const auto start = [&](const ServerTlsFiles& files) {
    ServedCache served;
    return CacheServer::Start(&served.catalog(), &served.local_source(), {.tls = files}).status();
  };
  const auto is_refused = [](const std::string& text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(start({certificate, "", ""}), is_refused("--tls-key"));
  EXPECT_THAT(start({certificate, other_key, ""}), is_refused("not that of the certificate"));
  EXPECT_THAT(start({key, key, ""}), is_refused("no PEM certificate"));
  EXPECT_THAT(start({certificate, certificate, ""}), is_refused("no PEM private key"));
  EXPECT_THAT(start({certificate, key, key}), is_refused("no PEM certificate"));
  EXPECT_THAT(start({certificate, key, ca_ + "x"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(ca_ + "x")));
  EXPECT_THAT(Open("grpcs://127.0.0.1:1", {.ca_file = key}), is_refused("no PEM certificate"));
  EXPECT_THAT(Open("grpcs://127.0.0.1:1", {.certificate_file = certificate}), is_refused("--tls-key"));
}

TEST_F(ServerAccessTest, TokensSayWhoMayDoWhat) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
      const auto tokens, TokenFile::Open(Write("tokens", absl::StrCat("read ", kReader, "\nwrite ", kWriter,
                                                                      "\nadmin ", kAdmin, "\n"))));
  CacheServer::Options options;
  options.tokens = tokens.get();
  ServedCache served(options);
  const EpochRequest request = served.Fill(20);

  EXPECT_THAT(Open(served.address(), {}),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("AFTERIMAGE_TOKEN_FILE")));
  EXPECT_THAT(Open(served.address(), {.token_file = Write("wrong", "wrong-0123456789abcdef\n")}),
              StatusIs(absl::StatusCode::kUnauthenticated, Not(HasSubstr("wrong-0123456789abcdef"))));
  EXPECT_THAT(Open(served.address(), {.token_file = Write("two", "read reader-0123456789abcdef\n")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one token")));

  const auto connect = [&](const std::string& token) {
    return *Connection::Open(served.address(),
                             {.access = {.token_file = Write(token.substr(0, 5), token + "\n")}});
  };
  const auto reader = connect(kReader), writer = connect(kWriter), admin = connect(kAdmin);
  RemoteEpochSource source(reader);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
  EXPECT_TRUE(frame.has_value());
  EXPECT_THAT(RemoteCatalog(reader).ListSets(), IsOk());
  EXPECT_THAT(
      RemoteCatalog(reader).CreateSet(testing::MakeSyntheticDescription()),
      StatusIs(absl::StatusCode::kPermissionDenied, AllOf(HasSubstr("for write"), HasSubstr("for read"))));
  EXPECT_THAT(RemoteCatalog(reader).OpenSet(request.set_id, OpenMode::kContribute),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("for write")));
  EXPECT_THAT(RemoteCatalog(writer).OpenSet(request.set_id, OpenMode::kContribute), IsOk());
  EXPECT_THAT(RemoteCatalog(writer).SetName("mine", request.set_id, false), IsOk());
  EXPECT_THAT(RemoteCatalog(writer).SetName("mine", request.set_id, true),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("for admin")));
  EXPECT_THAT(RemoteCatalog(writer).RemoveName("mine"),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("for admin")));
  EXPECT_THAT(RemoteCatalog(admin).RemoveName("mine"), IsOk());
}

TEST_F(ServerAccessTest, ARenewedTokenOfTheClientIsUsedWithoutReconnecting) {
  const std::string tokens_path = Write("tokens", absl::StrCat("read ", kReader, "\nread ", kWriter, "\n"));
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto tokens, TokenFile::Open(tokens_path));
  CacheServer::Options options;
  options.tokens = tokens.get();
  ServedCache served(options);
  const std::string mine = Write("mine", kReader);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto connection,
                                  Connection::Open(served.address(), {.access = {.token_file = mine}}));
  Write("mine", "wrong-0123456789abcdef");
  EXPECT_THAT(RemoteCatalog(connection).ListSets(),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("token")));
  Write("mine", kWriter);
  EXPECT_THAT(RemoteCatalog(connection).ListSets(), IsOk());
}

TEST_F(ServerAccessTest, AnAddressThatOthersReachIsNotServedUnprotected) {
  ServedCache served;
  const auto start = [&](CacheServer::Options options) {
    return CacheServer::Start(&served.catalog(), &served.local_source(), options).status();
  };
  for (const std::string listen : {"0.0.0.0:0", "[::]:0"}) {
    EXPECT_THAT(start({.listen = listen}), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    AllOf(HasSubstr(listen), HasSubstr("--tokens"),
                                                          HasSubstr("--tls-cert"), HasSubstr("--insecure"))));
  }
  EXPECT_THAT(start({.listen = "0.0.0.0:0", .insecure = true}), IsOk());
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto tokens,
                                  TokenFile::Open(Write("tokens", absl::StrCat("read ", kReader))));
  EXPECT_THAT(start({.listen = "0.0.0.0:0", .tokens = tokens.get()}), IsOk());
  EXPECT_THAT(start({.listen = "unix:" + (folder_ / "socket").string(),
                     .tls = WriteServerFiles(MakeCertificate("server", authority_))}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("leave --tls-cert out")));
  EXPECT_THAT(start({.listen = "localhost:0"}), IsOk());
}

}  // namespace
}  // namespace afterimage
