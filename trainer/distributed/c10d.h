// The border to PyTorch's c10d: its store over TCP, and its collectives over Gloo and NCCL.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trainer/distributed/rank_store.h"

namespace afterimage::trainer {

// A client of c10d's TCPStore, which torchrun's agents keep as well.
class TcpRankStore : public RankStore {
 public:
  struct Options {
    std::string host;
    uint16_t port = 0;
    int listen_descriptor = -1;  // a bound socket: keep the store here; taken over. -1 = it is kept elsewhere
    std::string prefix;          // of all keys
    absl::Duration timeout = absl::Seconds(30);  // of a connection
  };
  // Unavailable: nobody answers, or not as such a store does.
  static absl::StatusOr<std::unique_ptr<TcpRankStore>> Open(const Options& options);
  ~TcpRankStore() override;

  absl::Status Set(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::vector<std::optional<std::string>>> Get(const std::vector<std::string>& keys) override;
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override;

 private:
  friend class C10dCollectives;
  struct Implementation;
  explicit TcpRankStore(std::unique_ptr<Implementation> implementation);
  const std::unique_ptr<Implementation> implementation_;
};

// One collective under way.
class C10dWork {
 public:
  struct Outcome {
    bool done = false;
    std::string error;  // empty = it succeeded
    absl::Time finished;
  };
  virtual ~C10dWork() = default;
  // Waits at most that long.
  virtual Outcome WaitFor(absl::Duration duration) = 0;
};

// Sums, broadcasts and gathers of tensors: over Gloo where they are in host memory, over NCCL where they are
// on a GPU (a build with CUDA; that path has never run). Every rank makes the same calls in the same order.
class C10dCollectives {
 public:
  struct Options {
    uint32_t rank = 0;
    uint32_t num_ranks = 1;
    std::string address;  // of this machine, a number: where the other ranks connect to
    absl::Duration connect_timeout = absl::Seconds(25);
    absl::Duration timeout = absl::Hours(1);  // of a collective: for whoever waits to have given up before
  };
  // Connects all ranks with each other. Unavailable: that did not work out in time.
  static absl::StatusOr<std::unique_ptr<C10dCollectives>> Connect(TcpRankStore& store,
                                                                  const Options& options);
  ~C10dCollectives();

  absl::StatusOr<std::unique_ptr<C10dWork>> Sum(const at::Tensor& tensor);
  absl::StatusOr<std::unique_ptr<C10dWork>> Broadcast(const at::Tensor& tensor, uint32_t root);
  // `outputs` by rank, each of the type and shape of `input`; in host memory.
  absl::StatusOr<std::unique_ptr<C10dWork>> Gather(const at::Tensor& input, std::vector<at::Tensor> outputs);

  // Leaves threads and connections behind when the object goes: a collective may hang for ever.
  void GiveUp();

 private:
  struct Implementation;
  explicit C10dCollectives(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace afterimage::trainer
