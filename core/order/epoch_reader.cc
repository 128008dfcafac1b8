#include "core/order/epoch_reader.h"

#include <utility>

#include "core/base/status_macros.h"
#include "core/order/epoch_reader_stream.h"
#include "core/order/opened_epoch.h"

namespace afterimage {

EpochReader::EpochReader(FeatureCatalog* catalog, Options options)
    : options_(options), opener_(std::make_unique<EpochOpener>(catalog)) {}

EpochReader::~EpochReader() = default;

absl::StatusOr<std::unique_ptr<EpochStream>> EpochReader::Open(const EpochRequest& request) {
  AFTERIMAGE_ASSIGN_OR_RETURN(OpenedEpoch epoch, opener_->Open(request));
  return std::make_unique<EpochReaderStream>(std::move(epoch), options_);
}

}  // namespace afterimage
