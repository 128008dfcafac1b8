// The two hash families of Afterimage: SHA-256 for identities, XXH3 for integrity.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace afterimage {

// A SHA-256 digest: names manifests, teachers, feature specs, sets.
struct Digest256 {
  std::array<uint8_t, 32> bytes{};

  auto operator<=>(const Digest256&) const = default;
  bool IsZero() const { return *this == Digest256{}; }
  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // InvalidArgument unless `hex` is exactly 64 hexadecimal digits.
  static absl::StatusOr<Digest256> FromHex(absl::string_view hex);

  template <typename H>
  friend H AbslHashValue(H state, const Digest256& digest) {
    return H::combine(std::move(state), digest.bytes);
  }
};

// An XXH3-128 digest (seed 0): record digests and the running digest.
struct Digest128 {
  uint64_t low = 0;
  uint64_t high = 0;

  auto operator<=>(const Digest128&) const = default;
  // 32 lower-case hexadecimal digits, the high half first.
  std::string Hex() const;
  static absl::StatusOr<Digest128> FromHex(absl::string_view hex);
};

Digest256 Sha256(ByteSpan bytes);
uint64_t Xxh3_64(ByteSpan bytes);
Digest128 Xxh3_128(ByteSpan bytes);

// SHA-256 of bytes that arrive in pieces. Not thread-safe.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(Sha256Stream&&) noexcept;
  Sha256Stream& operator=(Sha256Stream&&) noexcept;

  void Update(ByteSpan bytes);
  // Ends the stream; it must not be used afterwards.
  Digest256 Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string HexEncode(ByteSpan bytes);
// InvalidArgument on an odd length or a character outside 0-9a-fA-F.
absl::StatusOr<std::string> HexDecode(absl::string_view hex);

}  // namespace afterimage
