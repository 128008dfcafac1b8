#include "cache_server/service/call_log.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/json_text.h"
#include "proto/wire/grpc_status.h"

namespace afterimage {
namespace {

// As the client is told it: what a request holds may be in it, of any length.
std::string ErrorText(const CallRecord& call) { return ToGrpcStatus(call.status).error_message(); }

// Neither another line nor a command to the terminal that shows it.
std::string OnOneLine(std::string text) {
  for (char& c : text) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  return text;
}

}  // namespace

std::string CallLog::Format(const CallRecord& call, bool json) {
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", call.begin, absl::UTCTimeZone());
  const double milliseconds = absl::ToDoubleMilliseconds(call.took);
  const std::string code = absl::StatusCodeToString(call.status.code());
  if (json) {
    nlohmann::ordered_json line = {{"time", time},          {"event", "call"},   {"request", call.request_id},
                                   {"method", call.method}, {"peer", call.peer}, {"code", code},
                                   {"ms", milliseconds}};
    if (!call.holder.empty()) line["token"] = call.holder;
    if (call.is_bulk) {
      line["records"] = call.records;
      line["bytes"] = call.bytes;
      if (call.shared_bytes > 0) line["shared_bytes"] = call.shared_bytes;
    }
    if (!call.status.ok()) line["error"] = ErrorText(call);
    return JsonText(line);
  }
  std::string line = absl::StrFormat("%s %s %s %s from %s in %.1f ms", time, call.request_id, call.method,
                                     code, call.peer, milliseconds);
  if (!call.holder.empty()) absl::StrAppend(&line, ", token of ", call.holder);
  if (call.is_bulk) absl::StrAppend(&line, ", ", call.records, " records, ", call.bytes, " bytes");
  if (call.shared_bytes > 0) absl::StrAppend(&line, ", ", call.shared_bytes, " by shared memory");
  if (!call.status.ok()) absl::StrAppend(&line, ": ", OnOneLine(ErrorText(call)));
  return line;
}

bool CallLog::Wants(const CallRecord& call) const {
  // A client that goes away in the middle of a stream is no error of the server's.
  const bool is_error = !call.status.ok() && !absl::IsCancelled(call.status);
  if (options_.level == Level::kAll) return true;
  if (options_.level == Level::kStreams) return is_error || call.is_bulk;
  return options_.level == Level::kErrors && is_error;
}

void CallLog::Write(const CallRecord& call) {
  if (!Wants(call)) return;
  const std::string line = Format(call, options_.json) + "\n";
  std::lock_guard lock(mutex_);
  std::fwrite(line.data(), 1, line.size(), options_.stream);
  std::fflush(options_.stream);
}

}  // namespace afterimage
