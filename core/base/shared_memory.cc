#include "core/base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"

namespace afterimage {
namespace {

constexpr char kLabel[] = "afterimage";  // in /proc/PID/maps
// Memory is taken in pieces of this, so that the system is seldom asked.
constexpr uint64_t kReserveBytes = 1 << 20;

uint64_t WholePages(uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

// The size stays, and (from Linux 5.1 on) nobody gets another map that can be written.
bool Seal(int descriptor) {
  constexpr int kSize = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return fcntl(descriptor, F_ADD_SEALS, kSize | F_SEAL_FUTURE_WRITE) == 0 ||
         fcntl(descriptor, F_ADD_SEALS, kSize) == 0;
}

absl::Status OtherThanNamed(const std::string& path, const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(path, " is not the memory that was named: ", what));
}

}  // namespace

SharedMemory::SharedMemory(int descriptor, uint64_t bytes) : descriptor_(descriptor) {
  name_.pid = getpid();
  name_.descriptor = descriptor;
  name_.bytes = bytes;
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Create(uint64_t bytes) {
  const int descriptor = memfd_create(kLabel, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return ErrnoStatus(errno, "make shared memory", kLabel);
  std::unique_ptr<SharedMemory> memory(
      new SharedMemory(descriptor, WholePages(std::max(bytes, kHeaderBytes))));
  const uint64_t whole = memory->name_.bytes;
  if (ftruncate(descriptor, static_cast<off_t>(whole)) != 0)
    return ErrnoStatus(errno, "size shared memory", kLabel);
  void* const map = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (map == MAP_FAILED) return ErrnoStatus(errno, "map shared memory", kLabel);
  memory->data_ = static_cast<uint8_t*>(map);
  if (!Seal(descriptor)) return ErrnoStatus(errno, "seal shared memory", kLabel);
  auto& nonce = memory->name_.nonce;
  if (getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size()))
    return ErrnoStatus(errno, "draw a nonce for", kLabel);
  if (!memory->Reserve(kHeaderBytes))
    return absl::ResourceExhaustedError("the system has no memory to be shared");
  std::memcpy(memory->data_, nonce.data(), nonce.size());
  return memory;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, name_.bytes);
  close(descriptor_);
}

bool SharedMemory::Reserve(uint64_t end) {
  if (end <= reserved_bytes_) return true;
  if (end > name_.bytes) return false;
  const uint64_t wanted = std::min((end + kReserveBytes - 1) / kReserveBytes * kReserveBytes, name_.bytes);
  int result = 0;
  do {
    result = fallocate(descriptor_, 0, static_cast<off_t>(reserved_bytes_),
                       static_cast<off_t>(wanted - reserved_bytes_));
  } while (result != 0 && errno == EINTR);
  if (result != 0) return false;
  reserved_bytes_ = wanted;
  return true;
}

absl::StatusOr<std::unique_ptr<SharedMemoryView>> SharedMemoryView::Open(const SharedMemoryName& name) {
  const std::string path = absl::StrCat("/proc/", name.pid, "/fd/", name.descriptor);
  // Before it is opened, since opening a pipe waits and opening a device may do something.
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0) return ErrnoStatus(errno, "look for", path);
  if (!S_ISREG(found.st_mode)) return OtherThanNamed(path, "no file");
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return ErrnoStatus(errno, "open", path);
  const absl::Cleanup close_it = [descriptor] { close(descriptor); };
  if (fstat(descriptor, &found) != 0) return ErrnoStatus(errno, "look at", path);
  // Root could open anybody's, who could then change what root has checked.
  if (found.st_uid != geteuid()) return OtherThanNamed(path, "another user's");
  if (name.bytes < SharedMemory::kHeaderBytes || static_cast<uint64_t>(found.st_size) != name.bytes)
    return OtherThanNamed(path, "another size");
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return OtherThanNamed(path, "its size is not sealed");
  void* const map = mmap(nullptr, name.bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  if (map == MAP_FAILED) return ErrnoStatus(errno, "map", path);
  std::unique_ptr<SharedMemoryView> view(
      new SharedMemoryView({static_cast<const uint8_t*>(map), static_cast<size_t>(name.bytes)}));
  if (std::memcmp(view->bytes().data(), name.nonce.data(), name.nonce.size()) != 0)
    return OtherThanNamed(path, "another beginning");
  return view;
}

SharedMemoryView::~SharedMemoryView() { munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size()); }

}  // namespace afterimage
