#include "core/base/digest.h"

#include "absl/hash/hash_testing.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::IsOkAndHolds;
using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

// FIPS 180-4's example.
constexpr char kSha256OfAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kSha256OfNothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(DigestTest, Sha256KnownAnswers) {
  EXPECT_EQ(Sha256(AsBytes("abc")).Hex(), kSha256OfAbc);
  EXPECT_EQ(Sha256({}).Hex(), kSha256OfNothing);
}

// The values of the xxhash repository's sanity check for empty input, and of `xxhsum -H3`, `-H128`.
TEST(DigestTest, Xxh3KnownAnswers) {
  EXPECT_EQ(Xxh3_64({}), 0x2D06800538D394C2u);
  EXPECT_EQ(Xxh3_128({}).Hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Xxh3_64(AsBytes("abc")), 0x78AF5F94892F3950u);
  EXPECT_EQ(Xxh3_128(AsBytes("abc")).Hex(), "06b05ab6733a618578af5f94892f3950");
}

// Short and long input go different ways. Of xxhash 3.5 from PyPI.
TEST(DigestTest, Xxh3OfLongInputIsThatOfTheSpecification) {
  EXPECT_EQ(Xxh3_64(AsBytes(std::string(1023, 'x'))), 0x044A8287E4E340AAu);
  EXPECT_EQ(Xxh3_64(AsBytes(std::string(1024, 'x'))), 0xFC56A7CE85B3164Au);
  EXPECT_EQ(Xxh3_64(AsBytes(std::string(100000, 'x'))), 0xD8B99A30E426AC41u);
}

TEST(DigestTest, StreamGivesTheDigestOfTheWhole) {
  const std::string text(100000, 'x');
  Sha256Stream stream;
  for (size_t offset = 0; offset < text.size(); offset += 777)
    stream.Update(AsBytes(text.substr(offset, 777)));
  Sha256Stream moved = std::move(stream);
  EXPECT_EQ(moved.Finish(), Sha256(AsBytes(text)));

  Sha256Stream nothing;
  EXPECT_EQ(nothing.Finish().Hex(), kSha256OfNothing);
}

TEST(DigestTest, HexRoundTrip) {
  EXPECT_THAT(Digest256::FromHex(kSha256OfAbc), IsOkAndHolds(Sha256(AsBytes("abc"))));
  const Digest128 digest{.low = 0x0123456789abcdef, .high = 0xfedcba9876543210};
  EXPECT_EQ(digest.Hex(), "fedcba98765432100123456789abcdef");
  EXPECT_THAT(Digest128::FromHex(digest.Hex()), IsOkAndHolds(digest));
  EXPECT_THAT(Digest128::FromHex("FEDCBA98765432100123456789ABCDEF"), IsOkAndHolds(digest));
}

TEST(DigestTest, FromHexRefusesWrongLengthAndWrongCharacters) {
  EXPECT_THAT(Digest256::FromHex("ab"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("64")));
  EXPECT_THAT(Digest256::FromHex(std::string(64, 'g')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gggg")));
  EXPECT_THAT(Digest128::FromHex(""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32")));
  EXPECT_THAT(Digest128::FromHex(std::string(31, '0') + "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not hexadecimal")));
}

TEST(DigestTest, HexEncodesAndDecodesAnyBytes) {
  const std::string bytes("\x00\x7f\x80\xff", 4);
  EXPECT_EQ(HexEncode(AsBytes(bytes)), "007f80ff");
  EXPECT_THAT(HexDecode("007F80fF"), IsOkAndHolds(bytes));
  EXPECT_THAT(HexDecode(""), IsOkAndHolds(""));
  EXPECT_THAT(HexDecode("007"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("odd")));
  EXPECT_THAT(HexDecode("0 "), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not hexadecimal")));
}

TEST(DigestTest, ZeroMeansNone) {
  EXPECT_TRUE(Digest256{}.IsZero());
  EXPECT_FALSE(Sha256({}).IsZero());
}

TEST(DigestTest, HashesAndCompares) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly({Digest256{}, Sha256({}), Sha256(AsBytes("abc"))}));
  EXPECT_LT(Digest256{}, Sha256({}));
}

}  // namespace
}  // namespace afterimage
