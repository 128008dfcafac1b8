// What libFuzzer asks of a fuzz target: where to start from, and how to mutate.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/fuzz_target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// AFTERIMAGE_FUZZ_CORPUS=FOLDER: the target's own corpus is written there, before the folders of the command
// line are read.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const folder = std::getenv("AFTERIMAGE_FUZZ_CORPUS");
  if (folder == nullptr) return 0;
  std::filesystem::create_directories(folder);
  int number = 0;
  for (const std::string& input : afterimage::FuzzCorpus()) {
    std::ofstream(std::filesystem::path(folder) / ("seed-" + std::to_string(number++)), std::ios::binary)
        << input;
  }
  return 0;
}

// Half of the mutations get their checksums made right.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  const size_t mutated = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 2 == 0) return mutated;
  std::string input(reinterpret_cast<const char*>(data), mutated);
  afterimage::ResealForFuzzing(input);
  std::memcpy(data, input.data(), input.size());
  return input.size();
}
