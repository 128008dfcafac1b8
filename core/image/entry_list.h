// Names and labels of a source's pictures, packed. Private to this room.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/image/image_source.h"

namespace afterimage::image_internal {

// A data set has millions of pictures: a name costs its characters and 16 bytes. Not thread-safe until it is
// complete.
class EntryList {
 public:
  // `label` -1 = none.
  void Add(absl::string_view name, int32_t label = -1);
  void SortByName();
  // Keeps the first `size` where there are more.
  void Truncate(size_t size);

  size_t size() const { return places_.size(); }
  absl::string_view name(size_t index) const {
    return absl::string_view(characters_).substr(places_[index].offset, places_[index].length);
  }
  ImageEntry at(size_t index) const;
  void SetLabel(size_t index, int32_t label) { places_[index].label = label; }

 private:
  struct Place {
    uint64_t offset = 0;
    uint32_t length = 0;
    int32_t label = -1;
  };
  std::string characters_;
  std::vector<Place> places_;
};

// Labels from class names, of which there are few.
class ClassLabels {
 public:
  // The class of the next entry; "" = none.
  void Add(absl::string_view class_name);
  // Sorted names, and each entry's index into them as its label; `entries` are those that were added here, or
  // the first of them. If any entry that was added has no class, nobody gets a label: half a labelling is a
  // folder layout that means something else.
  std::vector<std::string> Assign(EntryList& entries) const;

 private:
  std::map<std::string, uint32_t, std::less<>> numbers_;  // in order of appearance
  std::vector<uint32_t> class_of_entry_;
};

}  // namespace afterimage::image_internal
