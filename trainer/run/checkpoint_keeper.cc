#include "trainer/run/checkpoint_keeper.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/files.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

namespace fs = std::filesystem;

uint64_t Bytes(const Checkpoint& state) {
  uint64_t bytes = 0;
  for (const ParameterMap* const map : {&state.weights, &state.optimizer, &state.average}) {
    for (const auto& [name, tensor] : *map) bytes += tensor.nbytes();
  }
  return bytes;
}

// Into memory of an earlier copy where it fits.
void CopyTensors(const ParameterMap& from, ParameterMap& to) {
  ParameterMap copies;
  for (const auto& [name, tensor] : from) {
    at::Tensor& copy = copies[name];
    const auto before = to.find(name);
    if (before != to.end() && before->second.sizes() == tensor.sizes() &&
        before->second.scalar_type() == tensor.scalar_type()) {
      copy = before->second;
    } else {
      copy = at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()));
    }
    copy.copy_(tensor.detach());
  }
  to = std::move(copies);
}

// A second name for `from`: the old file of that name, if any, stays until the new one is there.
absl::Status LinkOrCopy(const fs::path& from, const fs::path& to) {
  fs::path beside = to;
  beside += absl::StrCat(".", getpid(), ".tmp");
  std::error_code error;
  fs::remove(beside, error);
  fs::create_hard_link(from, beside, error);
  if (error) {
    fs::copy_file(from, beside, error);
    if (!error) AFTERIMAGE_RETURN_IF_ERROR(SyncFile(beside));
  }
  if (!error) fs::rename(beside, to, error);
  if (error) {
    std::error_code ignored;
    fs::remove(beside, ignored);
    return ErrnoStatus(error.value(), "write", to);
  }
  return SyncDirectory(to.parent_path());
}

// What a killed run may have left: "<name>.safetensors.<pid>.tmp".
void RemoveHalfWritten(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StrContains(name, ".safetensors.") && absl::EndsWith(name, ".tmp"))
      fs::remove(entry.path(), error);
  }
}

}  // namespace

CheckpointKeeper::CheckpointKeeper(const Options& options) : options_(options) {
  RemoveHalfWritten(options_.folder);
  RemoveHalfWritten(fs::path(options_.folder) / "kept");
  thread_ = std::thread([this] { Work(); });
}

CheckpointKeeper::~CheckpointKeeper() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

absl::Status CheckpointKeeper::Resume(uint64_t step, Keep keep) {
  {
    std::lock_guard lock(mutex_);
    written_ = step;
  }
  return GiveNames(step, keep);
}

absl::Status CheckpointKeeper::Save(const Checkpoint& state, Keep keep) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return !waiting_.has_value() || (!waiting_->keep.for_good && (!waiting_->keep.best || keep.best));
    });
    if (waiting_.has_value()) {
      spare_.push_back(std::move(waiting_->state));
      waiting_.reset();
    }
  }
  AFTERIMAGE_ASSIGN_OR_RETURN(Job job, CopyOf(state, keep));
  {
    std::lock_guard lock(mutex_);
    waiting_ = std::move(job);
  }
  changed_.notify_all();
  return absl::OkStatus();
}

absl::StatusOr<std::string> CheckpointKeeper::Finish(const Checkpoint& state, Keep keep) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !waiting_.has_value() && !writing_; });
  if (written_ != state.step) {
    // Nobody trains any more: no copy, no thread. The lock is not needed by anybody.
    AFTERIMAGE_RETURN_IF_ERROR(Write({state, keep}));
    written_ = state.step;
  }
  return CheckpointPath(options_.folder, state.step);
}

absl::StatusOr<CheckpointKeeper::Job> CheckpointKeeper::CopyOf(const Checkpoint& state, Keep keep) {
  Job job{.keep = keep};
  {
    std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      job.state = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  job.state.step = state.step;
  job.state.values = state.values;
  AFTERIMAGE_RETURN_IF_ERROR(RunTorch([&] {
    c10::NoGradGuard no_grad;
    CopyTensors(state.weights, job.state.weights);
    CopyTensors(state.optimizer, job.state.optimizer);
    CopyTensors(state.average, job.state.average);
  }));
  return job;
}

void CheckpointKeeper::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return waiting_.has_value() || stopping_; });
    if (!waiting_.has_value()) return;
    Job job = *std::exchange(waiting_, std::nullopt);
    writing_ = true;
    lock.unlock();
    changed_.notify_all();
    const absl::Status written = Write(job);
    if (options_.messages != nullptr) {
      if (!written.ok()) {
        options_.messages->Put(absl::StrCat("warning: the state after step ", job.state.step,
                                            " is not saved: ", written.message(),
                                            "; the run goes on and tries again at its next checkpoint"));
      } else if (failing_) {
        options_.messages->Put(absl::StrCat("checkpoints are being written again: step ", job.state.step));
      }
    }
    lock.lock();
    failing_ = !written.ok();
    if (written.ok()) written_ = job.state.step;
    spare_.push_back(std::move(job.state));
    writing_ = false;
    changed_.notify_all();
  }
}

absl::Status CheckpointKeeper::Write(const Job& job) const {
  absl::Status written = WriteCheckpoint(options_.folder, job.state, options_.keep);
  if (absl::IsResourceExhausted(written) && options_.keep > 1) {
    // The oldest one would go after this one was written: now that there is no room for both, it goes before.
    PruneCheckpoints(options_.folder, options_.keep - 1);
    written = WriteCheckpoint(options_.folder, job.state, options_.keep);
  }
  if (written.ok()) written = GiveNames(job.state.step, job.keep);
  if (!absl::IsResourceExhausted(written)) return written;
  std::error_code error;
  const fs::space_info space = fs::space(options_.folder, error);
  return absl::ResourceExhaustedError(
      absl::StrCat(written.message(), " (", HumanBytes(Bytes(job.state)), " wanted, ",
                   error ? "an unknown number" : HumanBytes(space.available), " free)"));
}

absl::Status LastStateLost(const absl::Status& why, const std::string& folder) {
  const std::optional<std::string> last = LatestCheckpoint(folder);
  return absl::Status(
      why.code(),
      absl::StrCat("the state at the end could not be saved: ", why.message(), "; ",
                   last.has_value() ? absl::StrCat("the same command goes on from ", *last, " once it can")
                                    : "no checkpoint could be written"));
}

absl::Status CheckpointKeeper::GiveNames(uint64_t step, Keep keep) const {
  const fs::path folder = options_.folder;
  const fs::path path = CheckpointPath(options_.folder, step);
  if (keep.best) AFTERIMAGE_RETURN_IF_ERROR(LinkOrCopy(path, folder / "best.safetensors"));
  if (!keep.for_good) return absl::OkStatus();
  AFTERIMAGE_RETURN_IF_ERROR(CreateDirectories(folder / "kept"));
  return LinkOrCopy(path, folder / "kept" / path.filename());
}

}  // namespace afterimage::trainer
