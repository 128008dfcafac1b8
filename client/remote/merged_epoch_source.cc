#include "client/remote/merged_epoch_source.h"

#include <utility>

#include "client/remote/hedge_log.h"
#include "client/remote/merged_epoch_stream.h"
#include "core/base/status_macros.h"

namespace afterimage {

MergedEpochSource::MergedEpochSource(std::shared_ptr<ServerGroup> servers, Options options)
    : servers_(std::move(servers)),
      options_(std::move(options)),
      pace_(std::make_shared<ServerPace>(servers_->size(), options_.pace)),
      hedge_log_(std::make_shared<HedgeLog>(servers_, options_.hedge_message_interval, options_.message)) {}

absl::StatusOr<std::unique_ptr<EpochStream>> MergedEpochSource::Open(const EpochRequest& request) {
  SetDescription description;
  std::shared_ptr<const Manifest> manifest;
  AFTERIMAGE_RETURN_IF_ERROR(servers_->AskEach(0, [&](size_t, ServerGroup::Server& server) -> absl::Status {
    AFTERIMAGE_ASSIGN_OR_RETURN(const OpenedSet set,
                                server.catalog->OpenSet(request.set_id, OpenMode::kRead));
    absl::StatusOr<std::shared_ptr<const Manifest>> found =
        server.catalog->GetManifest(request.order.manifest);
    // The server itself says best which manifest it has instead.
    if (absl::IsNotFound(found.status())) {
      const absl::Status refused = server.epochs->Open(request).status();
      return refused.ok() ? found.status() : refused;
    }
    AFTERIMAGE_ASSIGN_OR_RETURN(manifest, std::move(found));
    description = set.store->description();
    return absl::OkStatus();
  }));
  AFTERIMAGE_ASSIGN_OR_RETURN(const EpochRequest checked,
                              ValidateEpochRequest(request, description, *manifest));
  auto stream = std::make_unique<MergedEpochStream>(servers_, pace_, hedge_log_, options_, checked,
                                                    description, std::move(manifest));
  AFTERIMAGE_RETURN_IF_ERROR(stream->Start());
  return stream;
}

HedgeCounts MergedEpochSource::hedges() const { return hedge_log_->counts(); }

}  // namespace afterimage
