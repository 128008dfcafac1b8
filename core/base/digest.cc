#include "core/base/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/status_macros.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__x86_64__)
// Of the same library, with the widest registers that the processor has. Its header xxh_x86dispatch.h does
// not go with XXH_INLINE_ALL.
extern "C" unsigned long long XXH3_64bits_dispatch(const void* input, size_t length);
#endif

namespace afterimage {
namespace {

constexpr size_t kLongInput = 1024;  // below it, a call costs more than wide registers save

constexpr char kHexDigits[] = "0123456789abcdef";

// -1 for what is no hexadecimal digit.
int HexValue(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

absl::Status WrongHexLength(absl::string_view hex, size_t num_digits) {
  return absl::InvalidArgumentError(
      absl::StrCat("a digest has ", num_digits, " hexadecimal digits, and \"", hex, "\" has ", hex.size()));
}

// SHA-256 takes any bytes: OpenSSL can fail here only where it is broken or out of memory.
void RequireOpenSsl(int result) {
  if (result != 1) std::abort();
}

}  // namespace

std::string HexEncode(ByteSpan bytes) {
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (uint8_t byte : bytes) {
    hex.push_back(kHexDigits[byte >> 4]);
    hex.push_back(kHexDigits[byte & 15]);
  }
  return hex;
}

absl::StatusOr<std::string> HexDecode(absl::string_view hex) {
  if (hex.size() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("\"", hex, "\" has an odd number of hexadecimal digits"));
  }
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = HexValue(hex[i]);
    const int low = HexValue(hex[i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError(absl::StrCat("\"", hex, "\" is not hexadecimal"));
    }
    bytes.push_back(static_cast<char>(high << 4 | low));
  }
  return bytes;
}

std::string Digest256::Hex() const { return HexEncode(bytes); }

absl::StatusOr<Digest256> Digest256::FromHex(absl::string_view hex) {
  Digest256 digest;
  if (hex.size() != digest.bytes.size() * 2) return WrongHexLength(hex, digest.bytes.size() * 2);
  AFTERIMAGE_ASSIGN_OR_RETURN(const std::string decoded, HexDecode(hex));
  std::memcpy(digest.bytes.data(), decoded.data(), decoded.size());
  return digest;
}

std::string Digest128::Hex() const { return absl::StrFormat("%016x%016x", high, low); }

absl::StatusOr<Digest128> Digest128::FromHex(absl::string_view hex) {
  constexpr size_t kNumDigits = 2 * sizeof(Digest128);
  if (hex.size() != kNumDigits) return WrongHexLength(hex, kNumDigits);
  uint64_t halves[2] = {0, 0};
  for (size_t i = 0; i < kNumDigits; ++i) {
    const int value = HexValue(hex[i]);
    if (value < 0) return absl::InvalidArgumentError(absl::StrCat("\"", hex, "\" is not hexadecimal"));
    uint64_t& half = halves[i / (kNumDigits / 2)];
    half = half << 4 | static_cast<uint64_t>(value);
  }
  return Digest128{.low = halves[1], .high = halves[0]};
}

Digest256 Sha256(ByteSpan bytes) {
  Digest256 digest;
  RequireOpenSsl(
      EVP_Digest(bytes.data(), bytes.size(), digest.bytes.data(), nullptr, EVP_sha256(), /*impl=*/nullptr));
  return digest;
}

uint64_t Xxh3_64(ByteSpan bytes) {
#if defined(__x86_64__)
  if (bytes.size() >= kLongInput) return XXH3_64bits_dispatch(bytes.data(), bytes.size());
#endif
  return XXH3_64bits(bytes.data(), bytes.size());
}

Digest128 Xxh3_128(ByteSpan bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {.low = hash.low64, .high = hash.high64};
}

struct Sha256Stream::State {
  State() : context(EVP_MD_CTX_new()) {
    if (context == nullptr) std::abort();
    RequireOpenSsl(EVP_DigestInit_ex(context, EVP_sha256(), /*impl=*/nullptr));
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  EVP_MD_CTX* context;
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {}
Sha256Stream::~Sha256Stream() = default;
Sha256Stream::Sha256Stream(Sha256Stream&&) noexcept = default;
Sha256Stream& Sha256Stream::operator=(Sha256Stream&&) noexcept = default;

void Sha256Stream::Update(ByteSpan bytes) {
  RequireOpenSsl(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()));
}

Digest256 Sha256Stream::Finish() {
  Digest256 digest;
  RequireOpenSsl(EVP_DigestFinal_ex(state_->context, digest.bytes.data(), nullptr));
  state_.reset();
  return digest;
}

}  // namespace afterimage
