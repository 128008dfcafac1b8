// The four programs as a user starts them, on pictures that the test makes and the teacher that is committed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/identity/canonical_spec.h"
#include "gtest/gtest.h"
#include "tests/testing/child_process.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage::testing {

using Arguments = std::vector<std::string>;

// deploy/demo/teacher.safetensors: 28 px, patch 4, 6 levels of 96 channels.
std::string TeacherFile();

// Grey pictures of 28 x 28 pixels, numbers first..first+count-1, each unlike the others: <folder>/a and /b.
void WriteImages(const std::filesystem::path& folder, int count, int first = 0);
// A text with the name of a picture, and a JPEG that is cut short.
void WriteUndecodableImages(const std::filesystem::path& folder);

// Each test has a folder of its own.
class ProgramsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  // argv of a program of this build.
  static Arguments Command(const std::string& program, const Arguments& arguments);
  // `afterimage-precompute`: every token, f32, one thread each; and its end.
  Arguments PrecomputeCommand(const std::string& cache, const Arguments& more = {}) const;
  Finished Precompute(const std::string& cache, const Arguments& more = {}) const;
  // `afterimage-train pretrain` of a student that takes milliseconds a step; 16 pictures a step, one thread.
  Arguments PretrainCommand(const Arguments& source, const std::string& out,
                            const Arguments& more = {}) const;
  Finished Pretrain(const std::string& cache, const std::string& out, const Arguments& more = {}) const;
  // The live teacher over the pictures, with what the cache's set says of views, masks and data set.
  Finished PretrainOnline(const std::string& like, const std::string& out, const Arguments& more = {}) const;
  static Finished Afterimage(const Arguments& arguments) {
    return RunProgram(Command("afterimage", arguments));
  }

  // What `afterimage info --json` says of the only set; null while there is none.
  static Json Info(const std::string& cache);
  // What `afterimage verify --json` counts; `damage` holds its texts.
  static Json Verify(const std::string& cache);
  // Waits until the only set of the cache has that many records; false when `worker` ended before.
  static bool WaitForRecords(const std::string& cache, uint64_t count, ChildProcess& worker);

  // One line per step and end of epoch of a run: step, samples and the loss to the last bit, or the running
  // digest.
  std::vector<std::string> Losses(const std::string& out) const;

  const TemporaryFolder folder_;
  const std::string images_ = Path("images");
};

// afterimage-server over a folder.
class Server {
 public:
  // `listen` with port 0: a free one. The test fails when it is not ready in time.
  Server(const std::string& cache, const std::string& listen = "127.0.0.1:0", const Arguments& more = {});

  // grpc://127.0.0.1:PORT, or the socket.
  const std::string& address() const { return address_; }
  // To give to another Server.
  const std::string& listen() const { return listen_; }
  ChildProcess& process() { return *process_; }

 private:
  const TemporaryFolder folder_;
  std::string listen_;
  std::string address_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace afterimage::testing
