#include "core/order/step_token.h"

#include <string>
#include <utility>

#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

StepToken Token() {
  StepToken token;
  token.feature_id.bytes.fill(0x11);
  token.set_id.bytes.fill(0x22);
  token.order.manifest.bytes.fill(0x33);
  token.order.num_occurrences = 8000;
  token.order.order_seed = 7;
  token.order.num_view_seeds = 2;
  token.order.mask = {.type = MaskSpec::Type::kRandom, .num_visible = 15, .mask_seed = 3, .num_masks = 2};
  token.order.tail = OrderSpec::Tail::kPad;
  token.epoch = 5;
  token.next_step = 31;
  token.global_batch = 256;
  token.running_digest = {.low = 0x0102030405060708, .high = 0x1112131415161718};
  return token;
}

std::string Repeat(const std::string& text, int count) {
  std::string repeated;
  for (int i = 0; i < count; ++i) repeated += text;
  return repeated;
}

std::string Golden() {
  return R"({"epoch":5,"feature_id":")" + Repeat("11", 32) +
         R"(","global_batch":256,"next_step":31,"order":{"manifest":")" + Repeat("33", 32) +
         R"(","mask":{"mask_seed":3,"num_masks":2,"num_visible":15,"type":"random","version":1},"num_occurrences":8000,)"
         R"("num_view_seeds":2,"order_seed":7,"tail":"pad","version":1},)"
         R"("running_digest":"11121314151617180102030405060708","set_id":")" +
         Repeat("22", 32) + R"(","version":1})";
}

std::string With(const std::string& from, const std::string& to) {
  std::string text = Golden();
  const size_t place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return text.replace(place, from.size(), to);
}

TEST(StepTokenTest, TextIsGolden) { EXPECT_EQ(Token().Serialize(), Golden()); }

TEST(StepTokenTest, ParsesWhatItWrote) { EXPECT_THAT(StepToken::Parse(Golden()), IsOkAndHolds(Token())); }

TEST(StepTokenTest, FurtherSetsAreInTheTextOnlyWhereThereAreSome) {
  StepToken token = Token();
  token.further_set_ids.resize(2);
  token.further_set_ids[0].bytes.fill(0x44);
  token.further_set_ids[1].bytes.fill(0x55);
  const std::string text = With(R"("global_batch")", R"("further_set_ids":[")" + Repeat("44", 32) + R"(",")" +
                                                         Repeat("55", 32) + R"("],"global_batch")");
  EXPECT_EQ(token.Serialize(), text);
  EXPECT_THAT(StepToken::Parse(text), IsOkAndHolds(token));
  EXPECT_NE(token.StartDigest(), Token().StartDigest());
  StepToken swapped = token;
  std::swap(swapped.further_set_ids[0], swapped.further_set_ids[1]);
  EXPECT_NE(token.StartDigest(), swapped.StartDigest());
  EXPECT_THAT(StepToken::Parse(With(R"("global_batch")", R"("further_set_ids":[],"global_batch")")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("further_set_ids")));
  EXPECT_THAT(StepToken::Parse(With(R"("global_batch")", R"("further_set_ids":[7],"global_batch")")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("further_set_ids")));
}

TEST(StepTokenTest, RefusesAnotherVersionAndTellsBoth) {
  std::string text = Golden();
  text.replace(text.size() - 2, 1, "2");
  EXPECT_THAT(StepToken::Parse(text),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 2, this program knows version 1")));
  EXPECT_THAT(StepToken::Parse(With(R"("tail":"pad","version":1)", R"("tail":"pad","version":9)")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("order spec: version 9")));
}

TEST(StepTokenTest, RefusesWhatIsNoToken) {
  const auto is_invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  EXPECT_THAT(StepToken::Parse(""), is_invalid("step token"));
  EXPECT_THAT(StepToken::Parse("{}"), is_invalid("step token"));
  EXPECT_THAT(StepToken::Parse("[1]"), is_invalid("step token"));
  EXPECT_THAT(StepToken::Parse(Golden() + " "), is_invalid("step token"));
  EXPECT_THAT(StepToken::Parse(With("\"epoch\":5", "\"epoch\":-5")), is_invalid("epoch is -5"));
  EXPECT_THAT(StepToken::Parse(With("\"epoch\":5", "\"epoch\":\"5\"")), is_invalid("epoch"));
  EXPECT_THAT(StepToken::Parse(With("\"global_batch\":256,", "")), is_invalid("global_batch"));
  EXPECT_THAT(StepToken::Parse(With("\"epoch\":5", "\"colour\":1,\"epoch\":5")), is_invalid("colour"));
  EXPECT_THAT(StepToken::Parse(With("\"order_seed\":7", "\"order_seed\":-7")), is_invalid("order_seed is -7"));
  EXPECT_THAT(StepToken::Parse(With("\"tail\":\"pad\"", "\"tail\":\"cut\"")), is_invalid("neither drop nor pad"));
  EXPECT_THAT(StepToken::Parse(With("1111", "11")), is_invalid("step token"));
}

}  // namespace
}  // namespace afterimage
