// The wheel's c10d headers show their classes with these only.
#define USE_DISTRIBUTED
#define USE_C10D_GLOO

#include "trainer/distributed/c10d.h"

#include <ATen/ATen.h>
#include <c10/util/Logging.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef AFTERIMAGE_WITH_CUDA
#define USE_C10D_NCCL
#include <c10/cuda/CUDAFunctions.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "core/vit/torch_status.h"

namespace afterimage::trainer {
namespace {

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

absl::Status AsUnavailable(const absl::Status& status) {
  return status.ok() ? status : absl::UnavailableError(status.message());
}

// c10d warns of what we report ourselves.
void SilenceWarnings() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = 2;  // errors and above
}

}  // namespace

struct TcpRankStore::Implementation {
  c10::intrusive_ptr<c10d::Store> store;  // with the prefix
};

TcpRankStore::TcpRankStore(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
TcpRankStore::~TcpRankStore() = default;

absl::StatusOr<std::unique_ptr<TcpRankStore>> TcpRankStore::Open(const Options& options) {
  SilenceWarnings();
  auto opened = RunTorch([&]() -> absl::StatusOr<std::unique_ptr<TcpRankStore>> {
    c10d::TCPStoreOptions tcp;
    tcp.port = options.port;
    tcp.isServer = options.listen_descriptor >= 0;
    if (tcp.isServer) tcp.masterListenFd = options.listen_descriptor;
    tcp.waitWorkers = false;
    tcp.timeout = Milliseconds(options.timeout);
    auto implementation = std::make_unique<Implementation>();
    implementation->store = c10::make_intrusive<c10d::PrefixStore>(
        options.prefix, c10::make_intrusive<c10d::TCPStore>(options.host, tcp));
    return std::unique_ptr<TcpRankStore>(new TcpRankStore(std::move(implementation)));
  });
  if (!opened.ok()) {
    return absl::UnavailableError(
        absl::StrCat("store at ", options.host, ":", options.port, ": ", opened.status().message()));
  }
  return opened;
}

absl::Status TcpRankStore::Set(const std::string& key, const std::string& value) {
  return AsUnavailable(
      RunTorch([&] { implementation_->store->set(key, std::vector<uint8_t>(value.begin(), value.end())); }));
}

absl::StatusOr<std::vector<std::optional<std::string>>> TcpRankStore::Get(
    const std::vector<std::string>& keys) {
  auto got = RunTorch([&]() -> absl::StatusOr<std::vector<std::optional<std::string>>> {
    c10d::Store& store = *implementation_->store;
    std::vector<std::optional<std::string>> values(keys.size());
    // A key that is absent would be waited for.
    if (store.hasExtendedApi() && store.check(keys)) {
      const auto found = store.multiGet(keys);
      for (size_t i = 0; i < keys.size(); ++i) values[i].emplace(found[i].begin(), found[i].end());
      return values;
    }
    for (size_t i = 0; i < keys.size(); ++i) {
      if (!store.check({keys[i]})) continue;
      const std::vector<uint8_t> found = store.get(keys[i]);
      values[i].emplace(found.begin(), found.end());
    }
    return values;
  });
  if (!got.ok()) return AsUnavailable(got.status());
  return got;
}

absl::StatusOr<int64_t> TcpRankStore::Add(const std::string& key, int64_t amount) {
  auto sum = RunTorch([&]() -> int64_t { return implementation_->store->add(key, amount); });
  if (!sum.ok()) return AsUnavailable(sum.status());
  return sum;
}

namespace {

// Gloo's work is done on its own threads, which tell us when.
class HostWork : public C10dWork {
 public:
  explicit HostWork(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {
    work_->getFuture()->addCallback([state = state_](c10::ivalue::Future& future) {
      std::lock_guard lock(state->mutex);
      state->outcome.finished = absl::Now();
      if (future.hasError()) {
        state->outcome.error = future.tryRetrieveErrorMessage();
        if (state->outcome.error.empty()) state->outcome.error = "it failed without a reason";
      }
      state->outcome.done = true;
      state->changed.notify_all();
    });
  }

  Outcome WaitFor(absl::Duration duration) override {
    std::unique_lock lock(state_->mutex);
    state_->changed.wait_for(lock, Milliseconds(duration), [&] { return state_->outcome.done; });
    return state_->outcome;
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    Outcome outcome;
  };
  const c10::intrusive_ptr<c10d::Work> work_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

#ifdef AFTERIMAGE_WITH_CUDA
// NCCL's work is done by the device: we look at it now and then, since its own wait neither returns when a
// rank has gone nor blocks this thread at all.
class DeviceWork : public C10dWork {
 public:
  explicit DeviceWork(c10::intrusive_ptr<c10d::Work> work) : work_(std::move(work)) {}

  Outcome WaitFor(absl::Duration duration) override {
    constexpr absl::Duration kLook = absl::Microseconds(50);
    const absl::Time deadline = absl::Now() + duration;
    while (!outcome_.done) {
      const absl::Status status = RunTorch([&] {
        if (!work_->isCompleted()) return;
        outcome_.finished = absl::Now();
        outcome_.done = true;
        work_->wait();  // the current stream goes on behind it; throws its error
      });
      if (!status.ok()) {
        outcome_.done = true;
        outcome_.error = std::string(status.message());
      }
      if (outcome_.done || absl::Now() >= deadline) break;
      absl::SleepFor(kLook);
    }
    return outcome_;
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
  Outcome outcome_;
};
#endif

}  // namespace

struct C10dCollectives::Implementation {
  c10::intrusive_ptr<c10d::Backend> host;
  c10::intrusive_ptr<c10d::Backend> device;  // null without CUDA or a GPU

  c10d::Backend& Of(const at::Tensor& tensor) const {
    TORCH_CHECK(tensor.is_cpu() || device != nullptr, "tensors on ", tensor.device(),
                " need a program that is built with CUDA (deploy/setup.sh --cuda)");
    return tensor.is_cpu() ? *host : *device;
  }
  std::unique_ptr<C10dWork> Wrap(const at::Tensor& tensor, c10::intrusive_ptr<c10d::Work> work) const {
#ifdef AFTERIMAGE_WITH_CUDA
    if (!tensor.is_cpu()) return std::make_unique<DeviceWork>(std::move(work));
#else
    (void)tensor;
#endif
    return std::make_unique<HostWork>(std::move(work));
  }
};

C10dCollectives::C10dCollectives(std::unique_ptr<Implementation> implementation)
    : implementation_(std::move(implementation)) {}
C10dCollectives::~C10dCollectives() = default;

absl::StatusOr<std::unique_ptr<C10dCollectives>> C10dCollectives::Connect(TcpRankStore& store,
                                                                          const Options& options) {
  auto connected = RunTorch([&]() -> absl::StatusOr<std::unique_ptr<C10dCollectives>> {
    const c10::intrusive_ptr<c10d::Store> keys = store.implementation_->store;
    const auto prefixed = [&](const char* prefix) {
      return c10::make_intrusive<c10d::PrefixStore>(prefix, keys);
    };
    const int rank = static_cast<int>(options.rank);
    const int size = static_cast<int>(options.num_ranks);
    auto gloo_options = c10d::ProcessGroupGloo::Options::create(Milliseconds(options.connect_timeout));
    gloo_options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(options.address));
    auto implementation = std::make_unique<Implementation>();
    implementation->host =
        c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed("gloo"), rank, size, gloo_options);
    implementation->host->setTimeout(Milliseconds(options.timeout));
#ifdef AFTERIMAGE_WITH_CUDA
    if (c10::cuda::device_count() >
        0) {  // it refuses to exist without; connects at the first use of a device
      auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
      nccl_options->timeout = Milliseconds(options.timeout);
      implementation->device =
          c10::make_intrusive<c10d::ProcessGroupNCCL>(prefixed("nccl"), rank, size, nccl_options);
    }
#endif
    return std::unique_ptr<C10dCollectives>(new C10dCollectives(std::move(implementation)));
  });
  if (!connected.ok()) {
    return absl::UnavailableError(
        absl::StrCat("connecting the ranks, from ", options.address, ": ", connected.status().message()));
  }
  return connected;
}

absl::StatusOr<std::unique_ptr<C10dWork>> C10dCollectives::Sum(const at::Tensor& tensor) {
  return RunTorch([&]() -> absl::StatusOr<std::unique_ptr<C10dWork>> {
    std::vector<at::Tensor> tensors = {tensor.detach()};
    return implementation_->Wrap(tensor, implementation_->Of(tensor).allreduce(tensors));
  });
}

absl::StatusOr<std::unique_ptr<C10dWork>> C10dCollectives::Broadcast(const at::Tensor& tensor,
                                                                     uint32_t root) {
  return RunTorch([&]() -> absl::StatusOr<std::unique_ptr<C10dWork>> {
    std::vector<at::Tensor> tensors = {tensor.detach()};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return implementation_->Wrap(tensor, implementation_->Of(tensor).broadcast(tensors, options));
  });
}

absl::StatusOr<std::unique_ptr<C10dWork>> C10dCollectives::Gather(const at::Tensor& input,
                                                                  std::vector<at::Tensor> outputs) {
  return RunTorch([&]() -> absl::StatusOr<std::unique_ptr<C10dWork>> {
    std::vector<std::vector<at::Tensor>> all = {std::move(outputs)};
    std::vector<at::Tensor> inputs = {input};
    return implementation_->Wrap(input, implementation_->host->allgather(all, inputs));
  });
}

void C10dCollectives::GiveUp() {
  // NOLINTNEXTLINE(bugprone-unused-return-value): on purpose; its destructor would wait for what hangs
  (void)implementation_.release();
}

}  // namespace afterimage::trainer
