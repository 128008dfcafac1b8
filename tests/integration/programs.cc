#include "tests/integration/programs.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "core/base/files.h"
#include "core/view/philox.h"

namespace afterimage::testing {
namespace {

constexpr uint32_t kSide = 28;

// A flag of `second` replaces the one of `first` with its value: the parsers take each once.
Arguments Joined(Arguments first, const Arguments& second) {
  for (const std::string& argument : second) {
    const auto before =
        absl::StartsWith(argument, "--") ? std::find(first.begin(), first.end(), argument) : first.end();
    if (before != first.end()) first.erase(before, before + 2);
    first.push_back(argument);
  }
  return first;
}

void WriteFile(const std::filesystem::path& path, const std::string& content) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
}

Json ParsedLastLine(const std::string& text) {
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  return lines.empty() ? Json() : Json::parse(lines.back(), nullptr, /*allow_exceptions=*/false);
}

}  // namespace

std::string TeacherFile() { return AFTERIMAGE_SOURCE_DIR "/deploy/demo/teacher.safetensors"; }

void WriteImages(const std::filesystem::path& folder, int count, int first) {
  for (int number = first; number < first + count; ++number) {
    std::string image = absl::StrCat("P5\n", kSide, " ", kSide, "\n255\n");
    for (uint32_t i = 0; i < kSide * kSide; ++i) {
      const uint32_t x = i % kSide, y = i / kSide;
      const uint32_t noise = Philox4x32({i, static_cast<uint32_t>(number), 0, 0}, {1, 2})[0] % 64;
      image += static_cast<char>(((number % 7 + 1) * x * 3 + (number % 5 + 2) * y * 2 + noise) % 256);
    }
    WriteFile(folder / (number % 2 == 0 ? "a" : "b") / absl::StrCat(number, ".pgm"), image);
  }
}

void WriteUndecodableImages(const std::filesystem::path& folder) {
  WriteFile(folder / "a" / "text.png", "this is no picture");
  const absl::StatusOr<std::string> jpeg =
      ReadFile(AFTERIMAGE_SOURCE_DIR "/tests/core/image/data/photo_420.jpg");
  ASSERT_TRUE(jpeg.ok()) << jpeg.status();
  WriteFile(folder / "b" / "cut.jpg", jpeg->substr(0, jpeg->size() / 2));
}

Arguments ProgramsTest::Command(const std::string& program, const Arguments& arguments) {
  return Joined({absl::StrCat(AFTERIMAGE_BINARY_DIR "/bin/", program)}, arguments);
}

Arguments ProgramsTest::PrecomputeCommand(const std::string& cache, const Arguments& more) const {
  return Command("afterimage-precompute",
                 Joined({"--images", images_, "--teacher", TeacherFile(), "--cache", cache, "--tokens", "all",
                         "--codec", "f32", "--threads", "1", "--teacher-threads", "1", "--json"},
                        more));
}

Finished ProgramsTest::Precompute(const std::string& cache, const Arguments& more) const {
  return RunProgram(PrecomputeCommand(cache, more));
}

Arguments ProgramsTest::PretrainCommand(const Arguments& source, const std::string& out,
                                        const Arguments& more) const {
  const Arguments recipe = {"pretrain", "--out",   Path(out), "--width",      "32", "--depth",
                            "6",        "--heads", "2",       "--batch-size", "16", "--epochs",
                            "4",        "--blr",   "1e-2",    "--threads",    "1"};
  return Command("afterimage-train", Joined(Joined(recipe, source), more));
}

Finished ProgramsTest::Pretrain(const std::string& cache, const std::string& out,
                                const Arguments& more) const {
  return RunProgram(PretrainCommand({"--cache", cache}, out, more));
}

Finished ProgramsTest::PretrainOnline(const std::string& like, const std::string& out,
                                      const Arguments& more) const {
  return RunProgram(
      PretrainCommand({"--teacher", TeacherFile(), "--images", images_, "--like", like}, out, more));
}

Json ProgramsTest::Info(const std::string& cache) {
  const Finished info = Afterimage({"info", "--cache", cache, "--json"});
  const Json sets = Json::parse(info.out, nullptr, /*allow_exceptions=*/false);
  return sets.is_array() && sets.size() == 1 ? sets[0] : Json();
}

Json ProgramsTest::Verify(const std::string& cache) {
  return ParsedLastLine(Afterimage({"verify", "--cache", cache, "--json"}).out);
}

bool ProgramsTest::WaitForRecords(const std::string& cache, uint64_t count, ChildProcess& worker) {
  while (worker.Running()) {
    const Json info = Info(cache);
    if (info.is_object() && info["records"].get<uint64_t>() >= count) return true;
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

std::vector<std::string> ProgramsTest::Losses(const std::string& out) const {
  std::vector<std::string> lines;
  const absl::StatusOr<std::string> metrics = ReadFile(Path(out) + "/metrics.jsonl");
  if (!metrics.ok()) return lines;
  for (const absl::string_view line : absl::StrSplit(*metrics, '\n', absl::SkipEmpty())) {
    const Json json = Json::parse(line.begin(), line.end());
    lines.push_back(
        json.contains("loss_hex")
            ? absl::StrCat(json["step"].dump(), ": ", json["samples"].dump(), " samples, ",
                           json["loss_hex"].dump())
            : absl::StrCat("epoch ", json["end_of_epoch"].dump(), ": ", json["running_digest"].dump()));
  }
  return lines;
}

Server::Server(const std::string& cache, const std::string& listen, const Arguments& more) {
  const std::string port_file = (folder_ / "port").string();
  process_ =
      std::make_unique<ChildProcess>(Joined({AFTERIMAGE_BINARY_DIR "/bin/afterimage-server", "--cache", cache,
                                             "--create", "--listen", listen, "--port-file", port_file},
                                            more));
  EXPECT_TRUE(process_->WaitForText("serving")) << process_->Err();
  const absl::StatusOr<std::string> port = ReadFile(port_file);
  EXPECT_TRUE(port.ok()) << port.status();
  const bool is_socket = listen.rfind("unix:", 0) == 0;
  listen_ = is_socket ? listen : absl::StrCat("127.0.0.1:", std::atoi(port.value_or("0").c_str()));
  address_ = is_socket ? listen : absl::StrCat("grpc://", listen_);
}

}  // namespace afterimage::testing
