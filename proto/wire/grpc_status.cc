#include "proto/wire/grpc_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace afterimage {
namespace {

// In the binary details of a status that one of our handlers returned.
constexpr char kMark[] = "afterimage.v1";
constexpr char kRetryMark[] = "afterimage.v1 retry";
// The payload of a status that is to get the second one.
constexpr char kRetryPayload[] = "afterimage/retry";

// gRPC refuses trailers above 8 KiB, and a byte that is not printable ASCII travels as three.
constexpr size_t kMaxTextBytes = 2400;

absl::Status CannotReach(absl::string_view address, absl::string_view text) {
  return absl::UnavailableError(
      absl::StrCat("no answer from the server at ", address, " (", text,
                   "); is it running? Start it with `afterimage-server --cache FOLDER --listen ADDRESS`"));
}

}  // namespace

absl::Status RetryLater(absl::Status status) {
  status.SetPayload(kRetryPayload, absl::Cord());
  return status;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string text(status.message());
  if (text.size() > kMaxTextBytes) {
    size_t end = kMaxTextBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
      --end;  // not within a UTF-8 character
    text.resize(end);
    text += " …";
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), text,
                      status.GetPayload(kRetryPayload).has_value() ? kRetryMark : kMark);
}

absl::Status FromGrpcStatus(const grpc::Status& status, absl::string_view address) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.error_message();
  const auto code = static_cast<absl::StatusCode>(status.error_code());  // the two enumerations are one
  const bool retry = status.error_details() == kRetryMark;
  if (retry || status.error_details() == kMark) {
    if (!retry && code != absl::StatusCode::kUnavailable) return absl::Status(code, text);
    return absl::UnavailableError(absl::StrCat("server at ", address, ": ", text));
  }
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:  // a caller that cancelled knows it, and does not ask here
      return CannotReach(address, text);
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::INTERNAL:
      if (absl::StrContains(text, "Stream removed") || absl::StrContains(text, "RST_STREAM") ||
          absl::StrContains(text, "Socket closed")) {
        return CannotReach(address, text);
      }
      break;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(absl::StrCat("the server at ", address, " did not answer in time"));
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      if (absl::StrContains(text, "Threadpool")) {
        return absl::UnavailableError(
            absl::StrCat("the server at ", address, " has no thread left; raise its --max-streams"));
      }
      return absl::InvalidArgumentError(
          absl::StrCat("message above the limit of server or client at ", address, ": ", text));
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::FailedPreconditionError(
          absl::StrCat("what answers at ", address, " is no afterimage-server of this version (", text, ")"));
    default:
      break;
  }
  return absl::Status(code, absl::StrCat("server at ", address, ": ", text));
}

}  // namespace afterimage
