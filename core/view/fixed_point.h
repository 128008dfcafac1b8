// log2 and exp2 in integers: equal on every machine, where libm is not.
#pragma once

#include <cstdint>

namespace afterimage {

// log2(value) with 32 fractional bits, for value >= 1 (an unsigned integer), rounded down: 0 <= error <
// 2^-31. Golden vectors freeze every bit; docs/views.md has the recipe.
int64_t FixedLog2(uint64_t value);

// 2^(exponent / 2^32) with 32 fractional bits, for exponents in [-32 * 2^32, 31 * 2^32), rounded down: the
// error is below one unit of the last place plus 2^-56 of the value.
uint64_t FixedExp2(int64_t exponent);

}  // namespace afterimage
