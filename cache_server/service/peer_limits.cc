#include "cache_server/service/peer_limits.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/wire/grpc_status.h"

namespace afterimage {

PeerLimits::Pass::~Pass() {
  std::lock_guard lock(limits_->mutex_);
  const auto peer = limits_->peers_.find(peer_);
  --CountOf(peer->second, kind_);
  if (peer->second.calls == 0 && peer->second.streams == 0) limits_->peers_.erase(peer);
}

absl::StatusOr<std::unique_ptr<PeerLimits::Pass>> PeerLimits::Enter(const std::string& peer, Kind kind) {
  const bool is_stream = kind == Kind::kStream;
  const uint32_t limit = is_stream ? max_streams_ : max_calls_;
  std::lock_guard lock(mutex_);
  uint32_t& count = CountOf(peers_[peer], kind);
  if (limit != 0 && count >= limit) {
    metrics_->Refused(is_stream ? ServerMetrics::Limit::kStreamsPerPeer
                                : ServerMetrics::Limit::kCallsPerPeer);
    return RetryLater(absl::ResourceExhaustedError(
        absl::StrCat(peer, " has ", count, is_stream ? " streams" : " short calls", " under way, and ",
                     is_stream ? "max_streams_per_peer" : "max_calls_per_peer", " is ", limit,
                     ": let some of them end first, or raise the server's ",
                     is_stream ? "--max-streams-per-peer" : "--max-calls-per-peer")));
  }
  ++count;
  return std::make_unique<Pass>(this, peer, kind);
}

std::string PeerLimits::PeerOf(const std::string& grpc_peer, const std::string& holder) {
  if (!holder.empty()) return absl::StrCat("token ", holder);
  const bool has_port = absl::StartsWith(grpc_peer, "ipv4:") || absl::StartsWith(grpc_peer, "ipv6:");
  return has_port ? grpc_peer.substr(0, grpc_peer.rfind(':')) : grpc_peer;
}

}  // namespace afterimage
