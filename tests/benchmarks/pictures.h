// Photographs made up for benchmarks.
#pragma once

#include <cstdint>
#include <string>

namespace afterimage::benchmarks {

// The committed photo_420.jpg, enlarged to 500 x 375 (ImageNet's most frequent size), with noise of this
// seed, and encoded again as a JPEG of quality 90: as costly to decode as a photograph.
std::string NoisyPhotograph(uint32_t seed);

}  // namespace afterimage::benchmarks
