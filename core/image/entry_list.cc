#include "core/image/entry_list.h"

#include <algorithm>
#include <functional>

namespace afterimage::image_internal {

void EntryList::Add(absl::string_view name, int32_t label) {
  places_.push_back({characters_.size(), static_cast<uint32_t>(name.size()), label});
  characters_.append(name.data(), name.size());
}

void EntryList::SortByName() {
  const absl::string_view characters = characters_;
  std::sort(places_.begin(), places_.end(), [characters](const Place& a, const Place& b) {
    return characters.substr(a.offset, a.length) < characters.substr(b.offset, b.length);
  });
}

void EntryList::Truncate(size_t size) {
  if (size < places_.size()) places_.resize(size);
}

ImageEntry EntryList::at(size_t index) const {
  ImageEntry entry{std::string(name(index)), std::nullopt};
  if (places_[index].label >= 0) entry.label = places_[index].label;
  return entry;
}

void ClassLabels::Add(absl::string_view class_name) {
  auto found = numbers_.find(class_name);
  if (found == numbers_.end()) {
    found = numbers_.emplace(std::string(class_name), static_cast<uint32_t>(numbers_.size())).first;
  }
  class_of_entry_.push_back(found->second);
}

std::vector<std::string> ClassLabels::Assign(EntryList& entries) const {
  std::vector<std::string> names;
  std::vector<int32_t> label_of_number(numbers_.size());
  for (const auto& [name, number] : numbers_) {  // ascending by name
    label_of_number[number] = static_cast<int32_t>(names.size());
    names.push_back(name);
  }
  if (names.empty() || names.front().empty()) return {};
  for (size_t i = 0; i < entries.size(); ++i) entries.SetLabel(i, label_of_number[class_of_entry_[i]]);
  return names;
}

}  // namespace afterimage::image_internal
