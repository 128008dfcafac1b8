// Runs a fuzz target over its corpus and some thousand mutations of it, the same ones each time: a fast test
// where there is no libFuzzer. Arguments are files to run once each, to look at a finding.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

namespace {

constexpr int kMutationsPerInput = 20000;

void Run(const std::string& input) {
  // An allocation of exactly this size, so that AddressSanitizer sees a read beyond it.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

std::string Mutated(std::string input, std::mt19937& random) {
  const int num_changes = 1 + static_cast<int>(random() % 4);
  for (int i = 0; i < num_changes && !input.empty(); ++i) {
    const size_t at = random() % input.size();
    switch (random() % 6) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2: {  // a run of one byte: large and zero numbers
        const size_t length = std::min<size_t>(random() % 9, input.size() - at);
        std::fill_n(input.begin() + static_cast<std::ptrdiff_t>(at), length,
                    random() % 2 == 0 ? '\0' : '\xff');
        break;
      }
      case 3:
        input.resize(at);
        break;
      case 4:
        input.append(random() % 100, static_cast<char>(random()));
        break;
      case 5: {  // one piece over another
        const size_t from = random() % input.size();
        const size_t length = std::min<size_t>(random() % 41, input.size() - std::max(at, from));
        std::copy_n(input.substr(from, length).begin(), length,
                    input.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      }
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    Run(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  if (argc > 1) return 0;

  std::mt19937 random(20240601);  // fixed, so that a finding comes again
  size_t num_inputs = 0;
  for (const std::string& input : afterimage::FuzzCorpus()) {
    Run(input);
    for (int i = 0; i < kMutationsPerInput; ++i, ++num_inputs) {
      std::string mutated = Mutated(input, random);
      if (i % 2 == 0) afterimage::ResealForFuzzing(mutated);
      Run(mutated);
    }
  }
  std::printf("%zu inputs\n", num_inputs);
  return 0;
}
