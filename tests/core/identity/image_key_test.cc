#include "core/identity/image_key.h"

#include <string>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

// By tests/golden/feature_formats.py.
TEST(ImageKeyTest, IsTheBeginningOfTheHashOfTheEncodedBytes) {
  const std::string pgm("P5\n2 2\n255\n\x00\x40\x80\xff", 15);
  EXPECT_EQ(ImageKey::OfEncodedImage(AsBytes(pgm)).Hex(), "72da4da49413259d1c478e37535cf866");
  EXPECT_EQ(ImageKey::OfEncodedImage({}).Hex(), "e3b0c44298fc1c149afbf4c8996fb924");
}

TEST(ImageKeyTest, HexRoundTrips) {
  const ImageKey key = ImageKey::OfEncodedImage({});
  EXPECT_THAT(ImageKey::FromHex(key.Hex()), IsOkAndHolds(key));
  EXPECT_THAT(ImageKey::FromHex("E3B0C44298FC1C149AFBF4C8996FB924"), IsOkAndHolds(key));
}

TEST(ImageKeyTest, FromHexRefusesOtherTexts) {
  for (const char* text : {"", "e3b0", "e3b0c44298fc1c149afbf4c8996fb9", "e3b0c44298fc1c149afbf4c8996fb92400",
                           "x3b0c44298fc1c149afbf4c8996fb924"}) {
    EXPECT_THAT(ImageKey::FromHex(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32 hexadecimal digits")))
        << text;
  }
}

TEST(ImageKeyTest, KeysAreOrderedAsBytes) {
  ImageKey low;
  ImageKey high;
  low.bytes[0] = 0x7f;
  low.bytes[15] = 0xff;
  high.bytes[0] = 0x80;  // unsigned: above 0x7f
  EXPECT_LT(low, high);
}

TEST(RecordKeyTest, OrderIsImageThenViewSeed) {
  RecordKey a;
  RecordKey b;
  a.view_seed = 9;
  b.image.bytes[0] = 1;
  EXPECT_LT(a, b);
  b.image = a.image;
  b.view_seed = 10;
  EXPECT_LT(a, b);
  EXPECT_EQ(b.ToString(), "00000000000000000000000000000000/10");
}

}  // namespace
}  // namespace afterimage
