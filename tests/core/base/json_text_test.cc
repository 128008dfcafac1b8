#include "core/base/json_text.h"

#include "gtest/gtest.h"

namespace afterimage {
namespace {

TEST(JsonTextTest, AFileNameOfAnyBytesCanBeTold) {
  const nlohmann::json told = {{"reason", "photo_\xE9t\xE9.jpg is no picture"}};  // Latin-1
  const std::string text = JsonText(told);
  EXPECT_EQ(text, "{\"reason\":\"photo_\uFFFDt\uFFFD.jpg is no picture\"}");
  EXPECT_TRUE(nlohmann::json::accept(text));
}

TEST(JsonTextTest, Utf8StaysAndIndentsWhereItIsAskedTo) {
  EXPECT_EQ(JsonText({{"name", "é"}}, 2), "{\n  \"name\": \"é\"\n}");
}

}  // namespace
}  // namespace afterimage
