#include "cache_server/service/call_log.h"

#include <cstdio>
#include <string>

#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

CallRecord Stream() {
  CallRecord call;
  call.request_id = "0011aabb-7";
  call.method = "ReadEpoch";
  call.peer = "ipv4:10.0.0.7:51234";
  call.holder = "trainers";
  call.begin = absl::FromUnixSeconds(1'700'000'000);
  call.took = absl::Milliseconds(1500);
  call.is_bulk = true;
  call.records = 12;
  call.bytes = 3456;
  return call;
}

TEST(CallLogTest, TextIsOneLineWithWhatAnOperatorLooksFor) {
  EXPECT_EQ(CallLog::Format(Stream(), false),
            "2023-11-14T22:13:20.000Z 0011aabb-7 ReadEpoch OK from ipv4:10.0.0.7:51234 in 1500.0 ms, token "
            "of trainers, "
            "12 records, 3456 bytes");
  CallRecord shared = Stream();
  shared.shared_bytes = 3000;
  EXPECT_THAT(CallLog::Format(shared, false), HasSubstr("3456 bytes, 3000 by shared memory"));
  CallRecord failed = Stream();
  failed.status = absl::NotFoundError("no such set\nthere are: a");
  EXPECT_THAT(CallLog::Format(failed, false), HasSubstr("NOT_FOUND from"));
  EXPECT_THAT(CallLog::Format(failed, false), HasSubstr(": no such set there are: a"));
  // What a client sends stands in errors.
  failed.status = absl::NotFoundError("no \x1b[2J\r\t\x7f name");
  EXPECT_THAT(CallLog::Format(failed, false), HasSubstr(": no  [2J    name"));
  failed.status = absl::NotFoundError(std::string(1 << 20, 'x'));
  for (const bool json : {false, true}) EXPECT_LT(CallLog::Format(failed, json).size(), 4096);
}

TEST(CallLogTest, JsonIsOneObject) {
  CallRecord call = Stream();
  call.status = absl::DataLossError("bytes \xff that are no text, and \"quotes\"\n");
  const std::string line = CallLog::Format(call, true);
  EXPECT_THAT(line, Not(HasSubstr("\n")));
  const Json json = Json::parse(line);
  EXPECT_EQ(json["request"], "0011aabb-7");
  EXPECT_EQ(json["code"], "DATA_LOSS");
  EXPECT_EQ(json["records"], 12);
  EXPECT_EQ(json["token"], "trainers");
  EXPECT_FALSE(json.contains("shared_bytes"));
  call.shared_bytes = 3000;
  EXPECT_EQ(Json::parse(CallLog::Format(call, true))["shared_bytes"], 3000);
  EXPECT_THAT(json["error"].get<std::string>(), HasSubstr("\"quotes\""));
}

TEST(CallLogTest, WritesWhatItsLevelHas) {
  CallRecord error = Stream(), gone = Stream(), small = Stream();
  error.status = absl::NotFoundError("no");
  gone.status = absl::CancelledError("the client has gone");
  small.is_bulk = false;
  const auto written = [&](CallLog::Level level) {
    std::FILE* const file = std::tmpfile();
    CallLog log({.level = level, .stream = file});
    for (const CallRecord& call : {error, gone, Stream(), small}) log.Write(call);
    std::rewind(file);
    int lines = 0;
    for (int c = 0; (c = std::fgetc(file)) != EOF;) lines += c == '\n';
    std::fclose(file);
    return lines;
  };
  EXPECT_EQ(written(CallLog::Level::kNone), 0);
  EXPECT_EQ(written(CallLog::Level::kErrors), 1);
  EXPECT_EQ(written(CallLog::Level::kStreams), 3);
  EXPECT_EQ(written(CallLog::Level::kAll), 4);
}

}  // namespace
}  // namespace afterimage
