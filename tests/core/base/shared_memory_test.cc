#include "core/base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr uint64_t kBytes = 3 << 20;

std::string PathOf(const SharedMemoryName& name) {
  return absl::StrCat("/proc/", name.pid, "/fd/", name.descriptor);
}

TEST(SharedMemoryTest, WhatIsWrittenIsSeenAndStaysWhenTheWriterHasGone) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedMemory> memory, SharedMemory::Create(kBytes));
  EXPECT_GE(memory->name().bytes, kBytes);
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(const auto view, SharedMemoryView::Open(memory->name()));
  ASSERT_EQ(view->bytes().size(), memory->name().bytes);
  ASSERT_TRUE(memory->Reserve(kBytes));
  std::memset(memory->data() + SharedMemory::kHeaderBytes, 7, kBytes - SharedMemory::kHeaderBytes);
  memory.reset();
  const ByteSpan seen =
      view->bytes().subspan(SharedMemory::kHeaderBytes, kBytes - SharedMemory::kHeaderBytes);
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](uint8_t byte) { return byte == 7; }));
}

TEST(SharedMemoryTest, OnlyWhatIsReservedTakesMemoryAndNothingBeyondTheEndIs) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedMemory> memory, SharedMemory::Create(64 << 20));
  const auto taken_bytes = [&] {
    struct stat found = {};
    EXPECT_EQ(stat(PathOf(memory->name()).c_str(), &found), 0);
    return static_cast<uint64_t>(found.st_blocks) * 512;
  };
  EXPECT_LE(taken_bytes(), 2 << 20);
  EXPECT_TRUE(memory->Reserve(10 << 20));
  EXPECT_GE(taken_bytes(), 10 << 20);
  EXPECT_LE(taken_bytes(), 12 << 20);
  EXPECT_FALSE(memory->Reserve(memory->name().bytes + 1));
}

TEST(SharedMemoryTest, AReaderCanNeitherShrinkNorWriteIt) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedMemory> memory, SharedMemory::Create(kBytes));
  const int descriptor = open(PathOf(memory->name()).c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(descriptor, 0);
  EXPECT_NE(ftruncate(descriptor, 0), 0);
  EXPECT_EQ(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
  close(descriptor);
}

TEST(SharedMemoryTest, RootDoesNotMapAnotherUsers) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can open another user's at all";
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedMemory> memory, SharedMemory::Create(kBytes));
  ASSERT_EQ(fchown(memory->name().descriptor, 12345, 12345), 0);
  EXPECT_THAT(SharedMemoryView::Open(memory->name()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another user's")));
}

TEST(SharedMemoryTest, WhatIsSomethingElseIsNotMapped) {
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN(std::unique_ptr<SharedMemory> memory, SharedMemory::Create(kBytes));
  const auto is_refused = [](const char* why) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(why));
  };
  SharedMemoryName name = memory->name();
  name.nonce[3] ^= 1;
  EXPECT_THAT(SharedMemoryView::Open(name), is_refused("another beginning"));
  name = memory->name();
  name.bytes += 4096;
  EXPECT_THAT(SharedMemoryView::Open(name), is_refused("another size"));
  name.bytes = 0;
  EXPECT_THAT(SharedMemoryView::Open(name), is_refused("another size"));
  name = memory->name();
  name.descriptor = 1'000'000;
  EXPECT_THAT(SharedMemoryView::Open(name), StatusIs(absl::StatusCode::kNotFound));

  // A file with the right bytes that could be cut short under the reader.
  const testing::TemporaryFolder folder;
  name.descriptor = open((folder / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(name.descriptor, 0);
  ASSERT_EQ(ftruncate(name.descriptor, static_cast<off_t>(name.bytes)), 0);
  ASSERT_EQ(pwrite(name.descriptor, name.nonce.data(), name.nonce.size(), 0), 16);
  EXPECT_THAT(SharedMemoryView::Open(name), is_refused("not sealed"));
  close(name.descriptor);

  // Opening it would wait for a writer.
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  name.descriptor = open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(name.descriptor, 0);
  EXPECT_THAT(SharedMemoryView::Open(name), is_refused("no file"));
  close(name.descriptor);
}

}  // namespace
}  // namespace afterimage
