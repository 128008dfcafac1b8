// Early return for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define AFTERIMAGE_CONCAT_INNER(a, b) a##b
#define AFTERIMAGE_CONCAT(a, b) AFTERIMAGE_CONCAT_INNER(a, b)

// Returns the status of `expression` from the enclosing function unless it is OK.
#define AFTERIMAGE_RETURN_IF_ERROR(expression)               \
  do {                                                       \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                        \
    }                                                        \
  } while (false)

// Assigns the value of a StatusOr to `target` (a declaration or an lvalue), or returns its status.
#define AFTERIMAGE_ASSIGN_OR_RETURN(target, expression) \
  AFTERIMAGE_ASSIGN_OR_RETURN_INNER(AFTERIMAGE_CONCAT(status_or_, __LINE__), target, expression)
#define AFTERIMAGE_ASSIGN_OR_RETURN_INNER(temporary, target, expression) \
  auto temporary = (expression);                                         \
  if (!temporary.ok()) return std::move(temporary).status();             \
  target = *std::move(temporary)

namespace afterimage {

// The same status with `context` and ": " before its text; an OK status is returned as it is.
absl::Status WithContext(const absl::Status& status, absl::string_view context);

}  // namespace afterimage
