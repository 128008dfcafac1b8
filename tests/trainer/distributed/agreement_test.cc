#include "trainer/distributed/agreement.h"

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/trainer/distributed/in_ranks.h"

namespace afterimage::trainer {
namespace {

using afterimage::testing::IsOk;
using afterimage::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::InRanks;

TEST(AgreementTest, TheErrorOfOneRankIsAnErrorOfAll) {
  InRanks(3, [](Communicator& communicator) {
    EXPECT_THAT(AgreeOnStatus(communicator, absl::OkStatus()), IsOk());
    const bool fails = communicator.rank() == 1;
    const absl::Status agreed =
        AgreeOnStatus(communicator, fails ? absl::NotFoundError("no such cache") : absl::OkStatus());
    EXPECT_THAT(agreed, StatusIs(absl::StatusCode::kNotFound, fails ? std::string("no such cache")
                                                                    : std::string("rank 1: no such cache")));
  });
}

TEST(AgreementTest, ValuesThatDifferAreNamedWithBoth) {
  InRanks(3, [](Communicator& communicator) {
    Json values = {{"config", {{"lr", "0.1"}, {"seed", 3}}}, {"order", "abc"}};
    EXPECT_THAT(AgreeOnValues(communicator, values), IsOk());
    if (communicator.rank() == 2) {
      values["config"]["lr"] = "0.2";
      values["config"]["ema"] = 1;
    }
    EXPECT_THAT(AgreeOnValues(communicator, values),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("rank 2 is not as rank 0"),
                               HasSubstr("\"config.lr\": \"0.2\", rank 0 \"0.1\""),
                               HasSubstr("\"config.ema\": 1, rank 0 null"))));
  });
}

}  // namespace
}  // namespace afterimage::trainer
