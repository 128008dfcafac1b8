#include "core/vit/tower_location.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace afterimage {
namespace {

// What stands before a name that ends with `name`, whole words between dots; nothing where it does not.
std::vector<std::string> PrefixesOf(const WeightViews& weights, const std::vector<std::string>& names) {
  std::vector<std::string> prefixes;
  const std::string& first = names.front();
  for (const auto& [full, view] : weights) {
    if (full != first && !full.ends_with("." + first)) continue;
    const std::string prefix = full.substr(0, full.size() - first.size());
    const bool all = std::all_of(names.begin(), names.end(), [&weights, &prefix](const std::string& name) {
      return weights.contains(prefix + name);
    });
    if (all) prefixes.push_back(prefix);
  }
  return prefixes;
}

TowerLocation Split(const TeacherLayout& layout, const std::string& whole) {
  for (const std::string& prefix : layout.prefixes) {
    if (whole == prefix || whole.ends_with("." + prefix)) {
      return {&layout, whole.substr(0, whole.size() - prefix.size()), prefix};
    }
  }
  return {&layout, whole, ""};
}

// The only one of `wholes`, which are prefixes of towers; several are an error, none is nothing.
absl::StatusOr<TowerLocation> OnlyOne(const TeacherLayout& layout, const std::set<std::string>& wholes) {
  if (wholes.size() == 1) return Split(layout, *wholes.begin());
  return absl::InvalidArgumentError(absl::StrCat("holds several towers of the family ", layout.name,
                                                 ", under \"", absl::StrJoin(wholes, "\", \""),
                                                 "\": say which prefix is the teacher's (--teacher-prefix)"));
}

absl::StatusOr<TowerLocation> LocateNamed(const WeightViews& weights, const std::string& family) {
  std::vector<std::string> known;
  for (const TeacherLayout& layout : TeacherLayouts()) {
    known.push_back(layout.name);
    if (layout.name != family) continue;
    const std::string patches = FileNameOf(layout, weights, "", "patch_embed.proj.weight");
    const std::vector<std::string> prefixes = PrefixesOf(weights, {patches});
    if (prefixes.empty()) return TowerLocation{&layout, "", ""};  // the reader says what is missing
    return OnlyOne(layout, {prefixes.begin(), prefixes.end()});
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown teacher family \"", family, "\"; known: ", absl::StrJoin(known, ", ")));
}

}  // namespace

absl::StatusOr<TowerLocation> LocateTower(const WeightViews& weights, const std::string& family) {
  if (!family.empty()) return LocateNamed(weights, family);
  std::vector<std::string> known;
  for (const TeacherLayout& layout : TeacherLayouts()) {
    std::set<std::string> wholes;
    for (const std::vector<std::string>& signature : layout.signatures) {
      for (const std::string& whole : PrefixesOf(weights, signature)) {
        if (layout.beside.empty() || weights.contains(Split(layout, whole).wrapper + layout.beside)) {
          wholes.insert(whole);
        }
      }
    }
    if (!wholes.empty()) return OnlyOne(layout, wholes);
    if (layout.recognised()) {
      known.push_back(
          absl::StrCat(layout.name, " (has ", absl::StrJoin(layout.signatures.front(), " and "), ")"));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the tensor names are of no teacher family that is known: ", absl::StrJoin(known, ", "),
                   weights.empty() ? std::string("; no tensor at all")
                                   : absl::StrCat("; the first name is ", weights.begin()->first)));
}

std::string FileNameOf(const TeacherLayout& layout, const WeightViews& weights, const std::string& prefix,
                       const std::string& ours) {
  std::string first;
  for (const NameRule& rule : layout.rules) {
    if (rule.ours != ours) continue;
    if (weights.contains(prefix + OfBlock(rule.file, 0))) return rule.file;
    if (first.empty()) first = rule.file;
  }
  return first;
}

std::string OfBlock(const std::string& pattern, int64_t block) {
  return absl::StrReplaceAll(pattern, {{"#", absl::StrCat(block)}});
}

}  // namespace afterimage
