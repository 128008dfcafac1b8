#include "cache_server/service/message_builder.h"

#include <memory>
#include <string>
#include <vector>

#include "afterimage/v1/epochs.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage {
namespace {

std::string Joined(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

MessageBuilder FramesBuilder() {
  return MessageBuilder(v1::ReadEpochResponse::kFramesFieldNumber, v1::EpochFrame::kBlockFieldNumber);
}

TEST(MessageBuilderTest, WritesWhatTheGeneratedCodeWrites) {
  // Below and above the size from which a block gets a slice of its own, and none at all.
  const std::vector<std::string> blocks = {std::string(300, 'a'), std::string(300'000, 'b'), "",
                                           std::string(8 << 10, 'c')};
  MessageBuilder builder = FramesBuilder();
  v1::ReadEpochResponse expected;
  for (size_t i = 0; i < blocks.size(); ++i) {
    v1::EpochFrame header;
    header.set_position(1000 + i);
    header.set_image(std::string(16, static_cast<char>(i)));
    header.set_state(v1::RECORD_STATE_OK);
    builder.Add(header, PinnedBytes::FromString(blocks[i]));
    v1::EpochFrame* frame = expected.add_frames();
    *frame = header;
    frame->set_block(blocks[i]);
  }
  v1::ReadEpochResponse end;
  end.mutable_end()->set_code(14);
  end.mutable_end()->set_message("gone");
  *expected.mutable_end() = end.end();
  builder.AppendFields(end);

  EXPECT_EQ(builder.bytes(), expected.ByteSizeLong());
  EXPECT_EQ(Joined(builder.Take()), expected.SerializeAsString());
  EXPECT_TRUE(builder.empty());
}

TEST(MessageBuilderTest, LargeBlocksAreNotCopiedAndLiveAsLongAsTheMessage) {
  auto block = std::make_shared<const std::string>(100'000, 'x');
  const std::weak_ptr<const std::string> watch = block;
  const auto* data = reinterpret_cast<const uint8_t*>(block->data());
  MessageBuilder builder = FramesBuilder();
  builder.Add(v1::EpochFrame(), PinnedBytes{AsBytes(*block), block});
  block.reset();
  {
    const grpc::ByteBuffer message = builder.Take();
    std::vector<grpc::Slice> slices;
    ASSERT_TRUE(message.Dump(&slices).ok());
    ASSERT_EQ(slices.size(), 2);
    EXPECT_EQ(slices[1].begin(), data);
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace afterimage
