// /metrics, /healthz, /readyz and the health of sets, of a real server; and the dashboard that is drawn from
// them.
#include "cache_server/service/status_pages.h"

#include <atomic>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/identity/canonical_spec.h"
#include "gmock/gmock.h"
#include "tests/cache_server/service/served_cache.h"
#include "tests/testing/http_get.h"
#include "tests/testing/observed_catalog.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using testing::HttpGet;
using testing::IsOk;
using testing::ServedCache;

CacheServer::Options WithHttp() {
  CacheServer::Options options;
  options.http = "127.0.0.1:0";
  options.watch_interval = absl::Milliseconds(50);
  return options;
}

class DamagedSetCatalog : public testing::ObservedCatalog {
 public:
  DamagedSetCatalog(FeatureCatalog* catalog, const Digest256& damaged)
      : ObservedCatalog(catalog), damaged_(damaged) {}

  absl::StatusOr<OpenedSet> OpenSet(const Digest256& set_id, OpenMode mode) override {
    if (set_id == damaged_ && !restored) return absl::DataLossError("a file was cut short");
    return ObservedCatalog::OpenSet(set_id, mode);
  }

  std::atomic<bool> restored = false;

 private:
  const Digest256 damaged_;
};

// Samples of the text format: name to labels (of any sample) and the sum of the values.
struct Family {
  std::set<std::string> labels;
  double sum = 0;
};
std::map<std::string, Family> ParseMetrics(const std::string& text) {
  std::map<std::string, Family> families;
  static const std::regex kSample(R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+))");
  static const std::regex kLabel(R"(([a-zA-Z_][a-zA-Z0-9_]*)=\"((?:[^\"\\]|\\.)*)\")");
  for (const absl::string_view view : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string line(view);
    if (line[0] == '#') continue;
    std::smatch match;
    EXPECT_TRUE(std::regex_match(line, match, kSample)) << line;
    if (match.empty()) continue;
    Family& family = families[match[1]];
    family.sum += std::stod(match[4]);
    const std::string labels = match[3];
    for (std::sregex_iterator label(labels.begin(), labels.end(), kLabel), end; label != end; ++label)
      family.labels.insert((*label)[1]);
  }
  return families;
}

void ReadAnEpoch(ServedCache& served, const EpochRequest& request) {
  const auto connection = served.Connect();
  RemoteEpochSource source(connection);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto stream, source.Open(request));
  while (true) {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto frame, stream->Next());
    if (!frame.has_value()) break;
    stream->ReturnCredit(frame->CostBytes());
  }
}

TEST(StatusPagesTest, MetricsCountWhatTheServerDoes) {
  ServedCache served(WithHttp());
  const EpochRequest request = served.Fill(40);
  ReadAnEpoch(served, request);
  absl::SleepFor(
      absl::Milliseconds(300));  // the call has ended for the client; the server counts it after that
  const HttpAnswer page = HttpGet(served.server().http_address(), "/metrics");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.head, HasSubstr("version=0.0.4"));
  const auto metrics = ParseMetrics(page.body);
  EXPECT_EQ(metrics.at("afterimage_records_sent_total").sum, 40);
  EXPECT_GT(metrics.at("afterimage_record_bytes_sent_total").sum, 40 * 500);
  EXPECT_EQ(metrics.at("afterimage_record_bytes_shared_total").sum, 0);  // by TCP
  EXPECT_THAT(page.body, HasSubstr("afterimage_calls_total{method=\"ReadEpoch\",code=\"OK\"} 1\n"));
  EXPECT_THAT(page.body, HasSubstr("afterimage_calls_total{method=\"GetCapabilities\",code=\"OK\"} 1\n"));
  EXPECT_THAT(page.body, HasSubstr("afterimage_call_seconds_count{method=\"ReadEpoch\"} 1\n"));
  EXPECT_EQ(metrics.at("afterimage_ready").sum, 1);
  EXPECT_EQ(metrics.at("afterimage_set_records").sum, 40);
  EXPECT_EQ(metrics.at("afterimage_streams").sum, 0);
  EXPECT_EQ(metrics.at("afterimage_streams_limit").sum, ServiceLimits().max_streams);
  EXPECT_GT(metrics.at("process_resident_memory_bytes").sum, 0);
}

TEST(StatusPagesTest, EveryQueryOfTheDashboardIsAnsweredByTheMetrics) {
  CacheServer::Options options = WithHttp();
  options.disk.free_bytes = [] { return absl::StatusOr<uint64_t>(1'000'000); };
  ServedCache served(options);
  ReadAnEpoch(served, served.Fill(40));
  absl::SleepFor(absl::Milliseconds(300));
  const auto metrics = ParseMetrics(HttpGet(served.server().http_address(), "/metrics").body);

  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const std::string text,
                                  ReadFile(AFTERIMAGE_SOURCE_DIR "/deploy/grafana/afterimage.json"));
  const Json dashboard = Json::parse(text);
  static const std::regex kName(R"((?:afterimage|process)_[a-z0-9_]+)");
  static const std::regex kMatcher(R"(([a-z_]+)\s*(?:=~|!~|!=|=)\s*\")");
  static const std::regex kGrouping(R"(by \(([a-z_, ]+)\))");
  // What Prometheus itself adds to every sample.
  const std::set<std::string> added = {"instance", "job"};
  int num_queries = 0;
  for (const Json& panel : dashboard["panels"]) {
    for (const Json& target : panel["targets"]) {
      const std::string query = target["expr"];
      SCOPED_TRACE(query);
      ++num_queries;
      std::set<std::string> labels = added;
      int num_names = 0;
      for (std::sregex_iterator name(query.begin(), query.end(), kName), end; name != end;
           ++name, ++num_names) {
        const auto family = metrics.find(name->str());
        ASSERT_NE(family, metrics.end()) << name->str();
        labels.insert(family->second.labels.begin(), family->second.labels.end());
      }
      EXPECT_GT(num_names, 0);
      for (std::sregex_iterator matcher(query.begin(), query.end(), kMatcher), end; matcher != end; ++matcher)
        EXPECT_TRUE(labels.contains((*matcher)[1])) << (*matcher)[1];
      for (std::sregex_iterator group(query.begin(), query.end(), kGrouping), end; group != end; ++group) {
        for (const absl::string_view label :
             absl::StrSplit((*group)[1].str(), absl::ByAnyChar(", "), absl::SkipEmpty()))
          EXPECT_TRUE(labels.contains(std::string(label))) << label;
      }
    }
  }
  EXPECT_GE(num_queries, 15);
}

TEST(StatusPagesTest, NotReadyWhileTheDiskIsFull) {
  std::atomic<uint64_t> free_bytes = 2000;
  CacheServer::Options options = WithHttp();
  options.disk.free_bytes = [&] { return absl::StatusOr<uint64_t>(free_bytes); };
  options.disk.min_free_bytes = 1000;
  ServedCache served(options);
  const std::string address = served.server().http_address();
  EXPECT_EQ(HttpGet(address, "/readyz").status, 200);
  free_bytes = 999;
  const HttpAnswer full = HttpGet(address, "/readyz");
  EXPECT_EQ(full.status, 503);
  EXPECT_THAT(full.body, AllOf(HasSubstr("disk is full"), HasSubstr("--min-free")));
  EXPECT_EQ(HttpGet(address, "/healthz").status, 200);
  EXPECT_THAT(HttpGet(address, "/metrics").body, HasSubstr("afterimage_ready 0\n"));
  free_bytes = 1000;
  EXPECT_EQ(HttpGet(address, "/readyz").body, "ready\n");
}

TEST(StatusPagesTest, NotReadyWhileASetIsDamagedThoughTheOthersAreServed) {
  InMemoryFeatureCatalog memory;
  const SetDescription good = testing::MakeSyntheticDescription();
  const SetDescription bad = testing::MakeSyntheticDescription({.teacher = "another"});
  for (const SetDescription* description : {&good, &bad})
    AFTERIMAGE_ASSERT_OK(memory.CreateSet(*description));
  DamagedSetCatalog catalog(&memory, bad.set.Id());
  EpochReader source(&catalog, {});
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto server, CacheServer::Start(&catalog, &source, WithHttp()));
  const HttpAnswer damaged = HttpGet(server->http_address(), "/readyz");
  EXPECT_EQ(damaged.status, 503);
  EXPECT_THAT(damaged.body, AllOf(HasSubstr(bad.set.Id().Hex()), HasSubstr("cut short")));
  const std::string metrics = HttpGet(server->http_address(), "/metrics").body;
  EXPECT_THAT(metrics,
              AllOf(HasSubstr("afterimage_ready 0\n"),
                    HasSubstr("afterimage_set_serving{set=\"" + good.set.Id().Hex() + "\",name=\"\"} 1"),
                    HasSubstr("afterimage_set_serving{set=\"" + bad.set.Id().Hex() + "\",name=\"\"} 0")));
  catalog.restored = true;
  for (int i = 0; i < 500 && HttpGet(server->http_address(), "/readyz").status != 200; ++i)
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_EQ(HttpGet(server->http_address(), "/readyz").body, "ready\n");
}

TEST(StatusPagesTest, NotReadyWhileDraining) {
  ServedCache served(WithHttp());
  const std::string address = served.server().http_address();
  EXPECT_EQ(HttpGet(address, "/readyz").status, 200);
  served.server().Drain(absl::ZeroDuration());
  const HttpAnswer draining = HttpGet(address, "/readyz");
  EXPECT_EQ(draining.status, 503);
  EXPECT_THAT(draining.body, HasSubstr("stopping"));
  EXPECT_EQ(HttpGet(address, "/healthz").status, 200);
}

}  // namespace
}  // namespace afterimage
