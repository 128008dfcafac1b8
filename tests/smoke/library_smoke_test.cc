// One process that links and uses every library at once: they come from two distributors, and this is where a
// clash of their symbols or ABIs shows.

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <rocksdb/db.h>
#include <spng.h>
#include <turbojpeg.h>
#include <webp/decode.h>
#include <webp/encode.h>
#include <xxhash.h>
#include <zstd.h>

#include <Eigen/Dense>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/testing/temporary_folder.h"
#ifdef AFTERIMAGE_WITH_TORCH
#include "tests/smoke/torch_smoke.h"
#endif

namespace afterimage {
namespace {

using ::testing::Each;
using ::testing::Le;

constexpr int kSide = 16;
constexpr uint8_t kGrey = 200;
std::vector<uint8_t> GreyPicture() { return std::vector<uint8_t>(kSide * kSide * 3, kGrey); }

#ifdef AFTERIMAGE_WITH_TORCH
TEST(LibrarySmokeTest, TorchMultipliesAndDifferentiates) {
  constexpr int n = 8;
  EXPECT_EQ(SumOfTorchGradient(n), 2.0 * n * n * n * n);
}
#endif

TEST(LibrarySmokeTest, RocksDbKeepsWhatWasPut) {
  const testing::TemporaryFolder folder;
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, (folder / "db").string(), &opened);
  ASSERT_TRUE(status.ok()) << status.ToString();
  const std::unique_ptr<rocksdb::DB> db(opened);
  ASSERT_TRUE(db->Put({}, "key", "value").ok());
  std::string value;
  ASSERT_TRUE(db->Get({}, "key", &value).ok());
  EXPECT_EQ(value, "value");
}

TEST(LibrarySmokeTest, ZstandardRoundTrip) {
  const std::string text(10000, 'z');
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1);
  ASSERT_FALSE(ZSTD_isError(size));
  EXPECT_LT(size, text.size());
  std::string unpacked(text.size(), '\0');
  ASSERT_EQ(ZSTD_decompress(unpacked.data(), unpacked.size(), packed.data(), size), text.size());
  EXPECT_EQ(unpacked, text);
}

TEST(LibrarySmokeTest, GrpcAnswersInProcess) {
  grpc::CallbackGenericService nothing_implemented;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&nothing_implemented);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);

  grpc::GenericStub stub(server->InProcessChannel({}));
  grpc::ClientContext context;
  const grpc::Slice text("request");
  const grpc::ByteBuffer request(&text, 1);
  grpc::ByteBuffer response;
  grpc::Status status;
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, "/afterimage.Smoke/Call", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, /*tag=*/&response);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST(LibrarySmokeTest, ProtobufRoundTrip) {
  google::protobuf::Struct message;
  (*message.mutable_fields())["tokens"].set_number_value(197);
  google::protobuf::Struct parsed;
  ASSERT_TRUE(parsed.ParseFromString(message.SerializeAsString()));
  EXPECT_EQ(parsed.fields().at("tokens").number_value(), 197);
  std::string json;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(message, &json).ok());
  EXPECT_EQ(nlohmann::json::parse(json)["tokens"], 197);
}

TEST(LibrarySmokeTest, TurboJpegRoundTrip) {
  const std::unique_ptr<void, int (*)(void*)> compressor(tjInitCompress(), tjDestroy);
  const std::unique_ptr<void, int (*)(void*)> decompressor(tjInitDecompress(), tjDestroy);
  unsigned char* encoded = nullptr;
  unsigned long size = 0;  // NOLINT: TurboJPEG's type
  ASSERT_EQ(tjCompress2(compressor.get(), GreyPicture().data(), kSide, 0, kSide, TJPF_RGB, &encoded, &size,
                        TJSAMP_444, 95, 0),
            0);
  std::vector<uint8_t> pixels(GreyPicture().size());
  EXPECT_EQ(tjDecompress2(decompressor.get(), encoded, size, pixels.data(), kSide, 0, kSide, TJPF_RGB, 0), 0);
  tjFree(encoded);
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(std::abs(pixel - kGrey));
  EXPECT_THAT(pixels, Each(Le(2)));
}

TEST(LibrarySmokeTest, SpngRoundTrip) {
  const std::vector<uint8_t> picture = GreyPicture();
  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> encoder(spng_ctx_new(SPNG_CTX_ENCODER), spng_ctx_free);
  spng_set_option(encoder.get(), SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr header = {};
  header.width = header.height = kSide;
  header.bit_depth = 8;
  header.color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  ASSERT_EQ(spng_set_ihdr(encoder.get(), &header), 0);
  ASSERT_EQ(
      spng_encode_image(encoder.get(), picture.data(), picture.size(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE),
      0);
  size_t size = 0;
  int error = 0;
  const std::unique_ptr<void, void (*)(void*)> encoded(spng_get_png_buffer(encoder.get(), &size, &error),
                                                       std::free);
  ASSERT_NE(encoded, nullptr) << spng_strerror(error);

  const std::unique_ptr<spng_ctx, void (*)(spng_ctx*)> decoder(spng_ctx_new(0), spng_ctx_free);
  spng_set_png_buffer(decoder.get(), encoded.get(), size);
  std::vector<uint8_t> pixels(picture.size());
  ASSERT_EQ(spng_decode_image(decoder.get(), pixels.data(), pixels.size(), SPNG_FMT_RGB8, 0), 0);
  EXPECT_EQ(pixels, picture);
}

TEST(LibrarySmokeTest, WebPRoundTrip) {
  const std::vector<uint8_t> picture = GreyPicture();
  uint8_t* encoded = nullptr;
  const size_t size = WebPEncodeLosslessRGB(picture.data(), kSide, kSide, kSide * 3, &encoded);
  ASSERT_GT(size, 0u);
  std::vector<uint8_t> pixels(picture.size());
  EXPECT_NE(WebPDecodeRGBInto(encoded, size, pixels.data(), pixels.size(), kSide * 3), nullptr);
  WebPFree(encoded);
  EXPECT_EQ(pixels, picture);
}

TEST(LibrarySmokeTest, XxHashHashes) { EXPECT_EQ(XXH3_64bits("", 0), 0x2D06800538D394C2u); }

TEST(LibrarySmokeTest, EigenSolves) {
  const Eigen::Matrix2d matrix{{2, 0}, {0, 4}};
  const Eigen::Vector2d solution = matrix.ldlt().solve(Eigen::Vector2d(2, 4));
  EXPECT_NEAR((solution - Eigen::Vector2d(1, 1)).norm(), 0, 1e-12);
}

TEST(LibrarySmokeTest, JsonAndAbseilAgree) {
  EXPECT_EQ(nlohmann::json({{"a", 1}}).dump(), absl::StrCat("{\"a\":", 1, "}"));
}

}  // namespace
}  // namespace afterimage
