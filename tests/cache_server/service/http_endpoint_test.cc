#include "cache_server/service/http_endpoint.h"

#include "gmock/gmock.h"
#include "tests/testing/http_get.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using testing::HttpExchange;
using testing::HttpGet;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::StartsWith;
using testing::StatusIs;

class HttpEndpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    AFTERIMAGE_ASSERT_OK_AND_ASSIGN(
        endpoint_, HttpEndpoint::Start("127.0.0.1:0",
                                       {{"/page", [] { return HttpPage{.body = "hello\n"}; }},
                                        {"/not", [] { return HttpPage{.status = 503, .body = "no\n"}; }}}));
  }

  std::unique_ptr<HttpEndpoint> endpoint_;
};

TEST_F(HttpEndpointTest, AnswersItsPages) {
  const HttpAnswer page = HttpGet(endpoint_->address(), "/page");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "hello\n");
  EXPECT_THAT(page.head, AllOf(HasSubstr("text/plain"), HasSubstr("Content-Length: 6")));
  EXPECT_EQ(HttpGet(endpoint_->address(), "/not").status, 503);
  EXPECT_EQ(HttpGet(endpoint_->address(), "/page?a=b").status, 200);
  const HttpAnswer head = HttpGet(endpoint_->address(), "/page", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_THAT(head.body, IsEmpty());
}

TEST_F(HttpEndpointTest, RefusesEverythingElseAndGoesOn) {
  const HttpAnswer unknown = HttpGet(endpoint_->address(), "/../etc/passwd");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(unknown.body, AllOf(HasSubstr("/page"), HasSubstr("/not")));
  EXPECT_EQ(HttpGet(endpoint_->address(), "/page", "DELETE").status, 405);
  EXPECT_EQ(HttpGet(endpoint_->address(), "/" + std::string(100'000, 'a')).status / 100, 4);
  EXPECT_THAT(
      HttpExchange(endpoint_->address(),
                   "POST /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde"),
      StartsWith("HTTP/1.1 405"));
  HttpExchange(endpoint_->address(), std::string("\0\xff\x16\x03 rubbish\r\n\r\n", 16), 1);
  HttpExchange(endpoint_->address(), "GET /page HTTP/1.1\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
               1);
  EXPECT_EQ(HttpGet(endpoint_->address(), "/page").status, 200);
}

TEST_F(HttpEndpointTest, TellsWhatIsWrongWithAnAddress) {
  EXPECT_THAT(HttpEndpoint::Start("nowhere", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nowhere")));
  EXPECT_THAT(HttpEndpoint::Start("unix:/tmp/x", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ADDRESS:PORT")));
  const std::string taken = endpoint_->address().substr(std::string("http://").size());
  EXPECT_THAT(HttpEndpoint::Start(taken, {}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(taken)));
}

}  // namespace
}  // namespace afterimage
