// What a fuzz target gives to replay_main.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace afterimage {

// Inputs to start from.
std::vector<std::string> FuzzCorpus();
// Makes the checksums of a mutated input right again, where the format has some: else nothing behind them is
// ever reached.
void ResealForFuzzing(std::string& input);

}  // namespace afterimage

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
