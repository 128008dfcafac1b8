// Reads every include and fails on an arrow between rooms that docs/design.md does not draw; and on a test that no CMakeLists.txt names.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_folder.h"

namespace afterimage {
namespace {

namespace fs = std::filesystem;
using ::afterimage::testing::TemporaryFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const char* const kSourceFolders[] = {"core", "proto", "cache_server", "client", "trainer"};

// What every room outside core may use: all of core but the ViT.
const std::vector<std::string> kCore = {"core/base", "core/identity", "core/image",    "core/view",   "core/mask",
                                        "core/feature", "core/order", "core/analysis", "core/drawing",
                                        "core/tensors"};

std::vector<std::string> CoreAnd(std::vector<std::string> others) {
  others.insert(others.end(), kCore.begin(), kCore.end());
  return others;
}

const std::vector<std::string> kTrainerRooms = {
    "core/vit",           "trainer/model",       "trainer/loss",       "trainer/data",      "trainer/optim",
    "trainer/checkpoint", "trainer/distributed", "trainer/forward", "trainer/evaluation", "trainer/supervise", "trainer/pretrain", "trainer/run",
    "trainer/recipes",    "trainer/classify", "trainer/finetune", "trainer/probe"};

std::vector<std::string> TrainerAnd(std::vector<std::string> others) {
  others.insert(others.end(), kTrainerRooms.begin(), kTrainerRooms.end());
  return CoreAnd(std::move(others));
}

// Room -> the rooms that it may include, besides itself. A room is a folder; the files directly in cache_server/, client/ and trainer/ are
// the server's main, open_cache, and the trainer's main; trainer/cli holds its subcommands.
const std::map<std::string, std::vector<std::string>>& AllowedRooms() {
  static const auto* const table = [] {
    auto* rooms = new std::map<std::string, std::vector<std::string>>{
        {"core/base", {}},
        {"core/identity", {"core/base"}},
        {"core/image", {"core/base", "core/identity"}},
        {"core/view", {"core/base", "core/identity", "core/image"}},
        {"core/mask", {"core/base", "core/identity", "core/image", "core/view"}},
        {"core/feature", {"core/base", "core/identity", "core/image", "core/view", "core/mask"}},
        {"core/order",
         {"core/base", "core/identity", "core/image", "core/view", "core/mask", "core/feature"}},
        {"core/analysis", {"core/base", "core/image"}},
        {"core/drawing", {"core/base", "core/image"}},
        {"core/tensors", {"core/base"}},
        {"core/vit",
         {"core/base", "core/identity", "core/image", "core/view", "core/mask", "core/feature",
          "core/tensors"}},
        {"cache_server/storage", kCore},
        {"proto/wire", kCore},  // core's types as messages and back: what service and remote share
        {"cache_server/service", CoreAnd({"proto/wire"})},
        {"cache_server/precompute", CoreAnd({"core/vit", "client", "client/flags"})},
        {"cache_server", CoreAnd({"cache_server/storage", "cache_server/service"})},
        {"client/remote", CoreAnd({"proto/wire"})},
        {"client", CoreAnd({"cache_server/storage", "client/remote"})},
        {"client/neighbours", CoreAnd({"client"})},
        {"client/flags", CoreAnd({"client"})},
        {"client/cli", CoreAnd({"client", "client/flags", "client/neighbours"})},
        {"trainer/cli", TrainerAnd({"client", "client/flags"})},
        {"trainer", CoreAnd({"trainer/cli"})},
    };
    for (const std::string& room : kTrainerRooms) {
      if (room != "core/vit")
        (*rooms)[room] = room == "trainer/data" ? TrainerAnd({"client"}) : TrainerAnd({});
    }
    (*rooms)["trainer/run"] = CoreAnd({"core/vit", "trainer/checkpoint"});  // what any kind of run needs knows none
    return rooms;
  }();
  return *table;
}

// Headers of libraries that only some rooms may know.
struct LibraryRule {
  std::string prefix;
  std::vector<std::string> rooms;
};
const std::vector<LibraryRule>& LibraryRules() {
  const std::vector<std::string> wire = {"proto/wire", "cache_server/service", "client/remote", "cache_server"};
  std::vector<std::string> tensors = kTrainerRooms;
  tensors.insert(tensors.end(), {"trainer", "trainer/cli"});
  static const auto* const rules = new std::vector<LibraryRule>{
      {"rocksdb/", {"cache_server/storage"}},
      {"grpc/", wire},
      {"grpc++/", wire},
      {"grpcpp/", wire},
      {"google/protobuf/", wire},
      {"afterimage/v1/", wire},  // generated
      {"torch/torch.h", {}},     // 20 seconds a file: include what is used
      {"torch/", tensors},
      {"ATen/", tensors},
      {"c10/", tensors},
      {"microhttpd.h", {"cache_server/service"}},
      {"faiss/", {"client/neighbours"}},
      // Flags exist only where main is; those that every main has stand in client/flags.
      {"CLI/",
       {"cache_server", "cache_server/precompute", "client/flags", "client/cli", "trainer", "trainer/cli"}},
  };
  return *rules;
}

bool StartsWith(const std::string& text, const std::string& prefix) { return text.compare(0, prefix.size(), prefix) == 0; }

// The folder of a file, e.g. "core/feature"; the files below a room's subfolders belong to the room.
std::string RoomOf(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().generic_string();
  std::string best;
  for (const auto& [room, allowed] : AllowedRooms()) {
    const bool whole = room == "cache_server" || room == "client" || room == "trainer" ? folder == room
                                                                                      : folder == room || StartsWith(folder, room + "/");
    if (whole && room.size() > best.size()) best = room;
  }
  return best.empty() ? folder : best;
}

bool IsProjectPath(const std::string& path) {
  for (const char* folder : kSourceFolders) {
    if (StartsWith(path, std::string(folder) + "/")) return true;
  }
  return StartsWith(path, "tests/") || StartsWith(path, "deploy/");
}

std::string ReadText(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Why the include is forbidden; empty when it is not.
std::string WhyForbidden(const std::string& room, const std::string& include, bool quoted) {
  const auto allowed = AllowedRooms().find(room);
  if (allowed == AllowedRooms().end()) return "room " + room + " is in no table; add it to the design first";
  if (IsProjectPath(include)) {
    const std::string target = RoomOf(include);
    if (target == room || std::count(allowed->second.begin(), allowed->second.end(), target) > 0) return "";
    return "room " + room + " may not use " + target;
  }
  for (const LibraryRule& rule : LibraryRules()) {
    if (!StartsWith(include, rule.prefix)) continue;
    if (std::count(rule.rooms.begin(), rule.rooms.end(), room) > 0) return "";
    return "room " + room + " may not know " + rule.prefix;
  }
  if (quoted && include.find('/') == std::string::npos) return "includes start at the repository root";
  return "";
}

std::vector<std::string> ForbiddenArrows(const fs::path& root) {
  static const std::regex pattern(R"re(^\s*#\s*include\s*([<"])([^>"]+)[>"])re");
  std::vector<std::string> found;
  for (const char* folder : kSourceFolders) {
    if (!fs::exists(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".cuh") continue;
      const std::string path = fs::relative(entry.path(), root).generic_string();
      std::istringstream lines(ReadText(entry.path()));
      std::smatch match;
      for (std::string line; std::getline(lines, line);) {
        if (!std::regex_search(line, match, pattern)) continue;
        const std::string why = WhyForbidden(RoomOf(path), match[2], match[1] == "\"");
        if (!why.empty()) found.push_back(path + " includes " + match[2].str() + ": " + why);
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Every tests/**/*_test.cc must be named by a CMakeLists.txt in its folder or above, relative to that file.
std::vector<std::string> UnregisteredTests(const fs::path& root) {
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / "tests")) {
    const std::string name = entry.path().filename().string();
    if (name.size() < 8 || name.compare(name.size() - 8, 8, "_test.cc") != 0) continue;
    bool registered = false;
    for (fs::path folder = entry.path().parent_path();; folder = folder.parent_path()) {
      std::istringstream lines(ReadText(folder / "CMakeLists.txt"));
      const std::string relative = fs::relative(entry.path(), folder).generic_string();
      for (std::string line; std::getline(lines, line);) {
        std::string code = line.substr(0, line.find('#'));
        std::replace_if(code.begin(), code.end(), [](char c) { return c == '(' || c == ')' || c == '"'; }, ' ');
        std::istringstream words(code);
        for (std::string word; words >> word;) registered = registered || word == relative;
      }
      if (folder == root / "tests" || folder == folder.parent_path()) break;
    }
    if (!registered) found.push_back(fs::relative(entry.path(), root).generic_string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string Lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(ArrowsTest, PointDownOnly) {
  const fs::path root = AFTERIMAGE_SOURCE_DIR;
  ASSERT_TRUE(fs::exists(root / "core/base/bytes.h")) << root << " is not the source folder";
  const std::vector<std::string> found = ForbiddenArrows(root);
  EXPECT_THAT(found, IsEmpty()) << Lines(found);
}

TEST(ArrowsTest, EveryTestIsRegistered) {
  const std::vector<std::string> found = UnregisteredTests(AFTERIMAGE_SOURCE_DIR);
  EXPECT_THAT(found, IsEmpty()) << Lines(found);
}

// The checker on trees of our own.
class ArrowCheckerTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path) << text;
  }
  // The one complaint about a file that includes `include`, or nothing.
  std::string Complaint(const std::string& path, const std::string& include) {
    Write(path, "#pragma once\n#include " + include + "\n");
    const std::vector<std::string> found = ForbiddenArrows(folder_.path());
    fs::remove(folder_ / path);
    return Lines(found);
  }

  const TemporaryFolder folder_;
};

TEST_F(ArrowCheckerTest, AcceptsWhatTheDesignDraws) {
  EXPECT_EQ(Complaint("core/order/a.h", "\"core/feature/b.h\""), "");
  EXPECT_EQ(Complaint("core/mask/a.cc", "\"core/view/philox.h\""), "");
  EXPECT_EQ(Complaint("core/base/a.cc", "<nlohmann/json.hpp>"), "");
  EXPECT_EQ(Complaint("core/vit/a.cc", "<ATen/core/Tensor.h>"), "");
  EXPECT_EQ(Complaint("cache_server/storage/a.cc", "<rocksdb/db.h>"), "");
  EXPECT_EQ(Complaint("cache_server/main.cc", "\"cache_server/storage/a.h\""), "");
  EXPECT_EQ(Complaint("cache_server/precompute/a.cc", "\"core/vit/vit.h\""), "");
  EXPECT_EQ(Complaint("client/open_cache.cc", "\"client/remote/a.h\""), "");
  EXPECT_EQ(Complaint("client/remote/a.cc", "\"afterimage/v1/cache.grpc.pb.h\""), "");
  EXPECT_EQ(Complaint("client/cli/a.cc", "\"client/open_cache.h\""), "");
  EXPECT_EQ(Complaint("trainer/data/a.cc", "\"client/open_cache.h\""), "");
  EXPECT_EQ(Complaint("trainer/model/a.cc", "<torch/csrc/autograd/variable.h>"), "");
}

TEST_F(ArrowCheckerTest, RefusesOtherArrowsBetweenRooms) {
  EXPECT_EQ(Complaint("core/feature/a.h", "\"core/order/b.h\""),
            "core/feature/a.h includes core/order/b.h: room core/feature may not use core/order\n");
  EXPECT_THAT(Complaint("core/base/a.h", "\"core/identity/b.h\""), HasSubstr("may not use core/identity"));
  EXPECT_THAT(Complaint("core/view/a.h", "\"core/mask/b.h\""), HasSubstr("may not use core/mask"));
  EXPECT_THAT(Complaint("core/order/a.cc", "<cache_server/storage/b.h>"), HasSubstr("may not use cache_server/storage"));
  EXPECT_THAT(Complaint("client/cli/a.cc", "\"core/vit/vit.h\""), HasSubstr("may not use core/vit"));
  EXPECT_THAT(Complaint("client/cli/a.cc", "\"cache_server/storage/b.h\""), HasSubstr("may not use cache_server/storage"));
  EXPECT_THAT(Complaint("cache_server/service/a.cc", "\"cache_server/storage/b.h\""), HasSubstr("may not use"));
  EXPECT_THAT(Complaint("cache_server/storage/a.cc", "\"client/open_cache.h\""), HasSubstr("may not use client"));
  EXPECT_THAT(Complaint("cache_server/precompute/a.cc", "\"cache_server/storage/b.h\""), HasSubstr("may not use"));
  EXPECT_THAT(Complaint("trainer/model/a.cc", "\"client/open_cache.h\""), HasSubstr("may not use client"));
  EXPECT_THAT(Complaint("trainer/data/a.cc", "\"client/remote/b.h\""), HasSubstr("may not use client/remote"));
  EXPECT_THAT(Complaint("trainer/run/a.cc", "\"trainer/pretrain/b.h\""), HasSubstr("may not use trainer/pretrain"));
  EXPECT_THAT(Complaint("core/base/a.cc", "\"tests/testing/b.h\""), HasSubstr("may not use tests/testing"));
  EXPECT_THAT(Complaint("core/attic/a.cc", "<vector>"), HasSubstr("core/attic is in no table"));
}

TEST_F(ArrowCheckerTest, RefusesLibrariesOutsideTheirRooms) {
  EXPECT_THAT(Complaint("core/feature/a.cc", "<rocksdb/db.h>"), HasSubstr("may not know rocksdb/"));
  EXPECT_THAT(Complaint("cache_server/service/a.cc", "\"rocksdb/db.h\""), HasSubstr("may not know rocksdb/"));
  EXPECT_THAT(Complaint("client/open_cache.cc", "<grpcpp/grpcpp.h>"), HasSubstr("may not know grpcpp/"));
  EXPECT_THAT(Complaint("trainer/data/a.cc", "\"afterimage/v1/cache.pb.h\""), HasSubstr("may not know afterimage/v1/"));
  EXPECT_THAT(Complaint("cache_server/precompute/a.cc", "<ATen/ATen.h>"), HasSubstr("may not know ATen/"));
  EXPECT_THAT(Complaint("cache_server/main.cc", "<c10/util/Half.h>"), HasSubstr("may not know c10/"));
  EXPECT_THAT(Complaint("trainer/main.cc", "<torch/torch.h>"), HasSubstr("may not know torch/torch.h"));
  EXPECT_THAT(Complaint("client/cli/a.cc", "<faiss/IndexFlat.h>"), HasSubstr("may not know faiss/"));
  EXPECT_THAT(Complaint("core/image/a.cc", "<CLI/CLI.hpp>"), HasSubstr("may not know CLI/"));
}

TEST_F(ArrowCheckerTest, RefusesIncludesThatDoNotStartAtTheRoot) {
  EXPECT_THAT(Complaint("core/base/a.cc", "\"bytes.h\""), HasSubstr("start at the repository root"));
}

TEST_F(ArrowCheckerTest, SeesEverySpelling) {
  Write("core/base/a.cc", "  #  include  \"core/order/b.h\"  // why\n// #include <rocksdb/db.h>\n#include<rocksdb/db.h>\n");
  EXPECT_EQ(ForbiddenArrows(folder_.path()).size(), 2u);
}

TEST_F(ArrowCheckerTest, FindsUnregisteredTests) {
  Write("tests/CMakeLists.txt", "afterimage_test(top SOURCES top_test.cc core/far_test.cc)\n");
  Write("tests/core/base/CMakeLists.txt",
        "afterimage_test(a\n  SOURCES\n    a_test.cc\n)\n# b_test.cc\nafterimage_test(c SOURCES other_c_test.cc)\n");
  for (const char* path : {"tests/top_test.cc", "tests/core/far_test.cc", "tests/core/base/a_test.cc", "tests/core/base/b_test.cc",
                           "tests/core/base/c_test.cc", "tests/core/base/helper.cc"}) {
    Write(path, "");
  }
  EXPECT_THAT(UnregisteredTests(folder_.path()), ElementsAre("tests/core/base/b_test.cc", "tests/core/base/c_test.cc"));
}

}  // namespace
}  // namespace afterimage
