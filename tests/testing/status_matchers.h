// GoogleMock matchers for absl::Status and absl::StatusOr.
//
//   EXPECT_THAT(store->Sync(), IsOk());
//   EXPECT_THAT(ReadFile(path), IsOkAndHolds("content"));
//   EXPECT_THAT(ReadFile(path), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/x")));
//   AFTERIMAGE_ASSERT_OK_AND_ASSIGN(auto store, FeatureStore::Open(options));
#pragma once

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage::testing {

namespace internal {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

// absl::string_view is not std::string_view here, and GoogleMock's string matchers know only the latter.
inline std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

template <typename StatusOrType>
class IsOkAndHoldsMatcher : public ::testing::MatcherInterface<StatusOrType> {
 public:
  using Value = typename std::remove_reference_t<StatusOrType>::value_type;

  template <typename Inner>
  explicit IsOkAndHoldsMatcher(Inner&& inner)
      : inner_(::testing::SafeMatcherCast<const Value&>(std::forward<Inner>(inner))) {}

  void DescribeTo(std::ostream* os) const override {
    *os << "is OK and holds a value that ";
    inner_.DescribeTo(os);
  }
  void DescribeNegationTo(std::ostream* os) const override {
    *os << "is not OK or holds a value that ";
    inner_.DescribeNegationTo(os);
  }
  bool MatchAndExplain(StatusOrType actual, ::testing::MatchResultListener* listener) const override {
    if (!actual.ok()) {
      *listener << "which has the status " << actual.status().ToString();
      return false;
    }
    return inner_.MatchAndExplain(*actual, listener);
  }

 private:
  const ::testing::Matcher<const Value&> inner_;
};

template <typename Inner>
class IsOkAndHolds {
 public:
  explicit IsOkAndHolds(Inner inner) : inner_(std::move(inner)) {}

  template <typename StatusOrType>
  operator ::testing::Matcher<StatusOrType>() const {  // NOLINT: matchers convert implicitly
    return ::testing::Matcher<StatusOrType>(new IsOkAndHoldsMatcher<const StatusOrType&>(inner_));
  }

 private:
  Inner inner_;
};

}  // namespace internal

MATCHER(IsOk, negation ? "is not OK" : "is OK") {
  if (arg.ok()) return true;
  *result_listener << "which has the status " << internal::StatusOf(arg).ToString();
  return false;
}

// Matches an OK StatusOr whose value matches `inner` (a matcher or a value).
template <typename Inner>
internal::IsOkAndHolds<std::decay_t<Inner>> IsOkAndHolds(Inner&& inner) {
  return internal::IsOkAndHolds<std::decay_t<Inner>>(std::forward<Inner>(inner));
}

// Matches a Status or StatusOr with this code and a message that matches `message` (a matcher or a string).
MATCHER_P2(StatusIs, code, message,
           "has the code " + absl::StatusCodeToString(code) + " and a message that " +
               ::testing::DescribeMatcher<std::string>(message, negation)) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which has the status " << status.ToString();
  return status.code() == code && ::testing::Matches(message)(internal::MessageOf(status));
}

MATCHER_P(StatusIs, code, "has the code " + absl::StatusCodeToString(code)) {
  const absl::Status& status = internal::StatusOf(arg);
  *result_listener << "which has the status " << status.ToString();
  return status.code() == code;
}

}  // namespace afterimage::testing

#define AFTERIMAGE_TESTING_CONCAT_INNER(a, b) a##b
#define AFTERIMAGE_TESTING_CONCAT(a, b) AFTERIMAGE_TESTING_CONCAT_INNER(a, b)

// Assigns the value of a StatusOr to `target` (a declaration or an lvalue), or fails the test and returns.
#define AFTERIMAGE_ASSERT_OK_AND_ASSIGN(target, expression) \
  AFTERIMAGE_ASSERT_OK_AND_ASSIGN_INNER(AFTERIMAGE_TESTING_CONCAT(status_or_, __LINE__), target, expression)
#define AFTERIMAGE_ASSERT_OK_AND_ASSIGN_INNER(temporary, target, expression) \
  auto temporary = (expression);                                             \
  ASSERT_TRUE(temporary.ok()) << #expression << ": " << temporary.status();  \
  target = *std::move(temporary)

#define AFTERIMAGE_EXPECT_OK(expression) EXPECT_THAT(expression, ::afterimage::testing::IsOk())
#define AFTERIMAGE_ASSERT_OK(expression) ASSERT_THAT(expression, ::afterimage::testing::IsOk())
