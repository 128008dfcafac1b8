// The border between LibTorch's exceptions and absl::Status: the only place that catches them.
#pragma once

#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace afterimage {

// The exception that is being handled, as a Status: ResourceExhausted where memory ran out, Internal with
// LibTorch's text (without its stack trace) otherwise. To be called inside a catch block.
absl::Status StatusOfCurrentException();

namespace internal {

template <typename T>
struct TorchResult {
  using Type = absl::StatusOr<T>;
};
template <>
struct TorchResult<void> {
  using Type = absl::Status;
};
template <>
struct TorchResult<absl::Status> {
  using Type = absl::Status;
};
template <typename T>
struct TorchResult<absl::StatusOr<T>> {
  using Type = absl::StatusOr<T>;
};

}  // namespace internal

// Runs `function`, which may call LibTorch, and turns what it throws into a Status. Returns Status where it
// returns nothing or a Status, StatusOr<T> where it returns T or StatusOr<T>.
template <typename Function>
auto RunTorch(Function&& function) -> typename internal::TorchResult<std::invoke_result_t<Function>>::Type {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Function>>) {
      std::forward<Function>(function)();
      return absl::OkStatus();
    } else {
      return std::forward<Function>(function)();
    }
  } catch (...) {
    return StatusOfCurrentException();
  }
}

}  // namespace afterimage
