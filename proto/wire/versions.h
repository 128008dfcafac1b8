// The version numbers that client and server tell each other, and the names of their metadata.
#pragma once

#include <cstdint>

namespace afterimage {

// Of proto/afterimage/v1. Raised when an old client would misunderstand a new server or the other way round.
inline constexpr uint32_t kProtocolVersion = 1;
// Of the epoch order (core/order/order_spec.h) and of set descriptions (core/feature/feature_spec.h).
inline constexpr uint32_t kOrderVersion = 1;
inline constexpr uint32_t kDescriptionVersion = 1;
// The release.
inline constexpr char kServerVersion[] = "0.1.0";

// Initial metadata of a stream whose first message was found good.
inline constexpr char kAcceptedMetadata[] = "afterimage-accepted";
// Of a call to a server that asks for tokens: "Bearer TOKEN".
inline constexpr char kTokenMetadata[] = "authorization";
inline constexpr char kTokenPrefix[] = "Bearer ";
// Trailing metadata of every call: what its line in the server's log begins with.
inline constexpr char kRequestIdMetadata[] = "afterimage-request-id";

}  // namespace afterimage
