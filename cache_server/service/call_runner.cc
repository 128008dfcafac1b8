#include "cache_server/service/call_runner.h"

#include <memory>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "core/base/status_macros.h"
#include "proto/wire/grpc_status.h"
#include "proto/wire/versions.h"

namespace afterimage {

CallRunner::CallRunner(TokenFile* tokens, PeerLimits* peers, ServerMetrics* metrics, CallLog* log)
    : tokens_(tokens),
      peers_(peers),
      metrics_(metrics),
      log_(log),
      id_prefix_(absl::StrCat(absl::Hex(std::random_device()(), absl::kZeroPad8))) {}

grpc::Status CallRunner::Run(grpc::ServerContextBase& context, const char* method, Access access,
                             absl::FunctionRef<absl::Status()> body) {
  CallRecord record;
  record.method = method;
  return RunAny(context, record, access, body);
}

grpc::Status CallRunner::RunBulk(grpc::ServerContextBase& context, const char* method, Access access,
                                 absl::FunctionRef<absl::Status(BulkCounts&)> body) {
  CallRecord record;
  record.method = method;
  record.is_bulk = true;
  BulkCounts counts(metrics_);
  return RunAny(context, record, access, [&] {
    const absl::Status status = body(counts);
    record.records = counts.records();
    record.bytes = counts.bytes();
    record.shared_bytes = counts.shared_bytes();
    return status;
  });
}

grpc::Status CallRunner::RunAny(grpc::ServerContextBase& context, CallRecord& record, Access access,
                                absl::FunctionRef<absl::Status()> body) {
  record.request_id = absl::StrCat(id_prefix_, "-", next_id_++);
  record.peer = context.peer();
  record.begin = absl::Now();
  context.AddTrailingMetadata(kRequestIdMetadata, record.request_id);
  record.status = Authorize(context, access, record.holder);
  if (record.status.ok()) record.status = RunWithinLimits(record, body);
  record.took = absl::Now() - record.begin;
  metrics_->CallEnded(record.method, record.status.code(), record.took);
  log_->Write(record);
  if (!absl::IsInternal(record.status)) return ToGrpcStatus(record.status);
  return ToGrpcStatus(absl::InternalError(
      absl::StrCat(record.status.message(), " (request ", record.request_id, " in the server's log)")));
}

absl::Status CallRunner::RunWithinLimits(const CallRecord& record, absl::FunctionRef<absl::Status()> body) {
  const auto kind = record.is_bulk ? PeerLimits::Kind::kStream : PeerLimits::Kind::kShortCall;
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::unique_ptr<PeerLimits::Pass> pass,
                              peers_->Enter(PeerLimits::PeerOf(record.peer, record.holder), kind));
  return body();
}

absl::Status CallRunner::Authorize(const grpc::ServerContextBase& context, Access needed,
                                   std::string& name) const {
  if (tokens_ == nullptr) return absl::OkStatus();
  constexpr absl::string_view kRemedy =
      "name the file that holds yours with --token-file or in AFTERIMAGE_TOKEN_FILE (a token of this server "
      "has "
      "a line in its "
      "--tokens file)";
  const auto header = context.client_metadata().find(kTokenMetadata);
  if (header == context.client_metadata().end())
    return absl::UnauthenticatedError(absl::StrCat("this server wants a token: ", kRemedy));
  absl::string_view token(header->second.data(), header->second.size());
  std::optional<TokenHolder> holder;
  if (absl::ConsumePrefix(&token, kTokenPrefix)) holder = tokens_->Find(token);
  if (!holder.has_value())
    return absl::UnauthenticatedError(absl::StrCat("the token is none of this server's: ", kRemedy));
  name = holder->name;
  if (holder->access < needed) {
    return absl::PermissionDeniedError(absl::StrCat("this call needs a token for ", AccessName(needed),
                                                    ", the one that came is for ",
                                                    AccessName(holder->access)));
  }
  return absl::OkStatus();
}

}  // namespace afterimage
