#include "core/image/entry_list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace afterimage::image_internal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(EntryListTest, KeepsNamesAndLabelsAndSortsThem) {
  EntryList entries;
  entries.Add("b/2.jpg", 7);
  entries.Add("");
  entries.Add("a/10.jpg", 3);
  EXPECT_EQ(entries.at(0).name, "b/2.jpg");
  EXPECT_EQ(entries.at(0).label, 7);
  EXPECT_EQ(entries.at(1).label, std::nullopt);
  entries.SortByName();
  EXPECT_EQ(entries.name(0), "");
  EXPECT_EQ(entries.name(1), "a/10.jpg");
  EXPECT_EQ(entries.at(1).label, 3);
  EXPECT_EQ(entries.at(2).label, 7);
  entries.Truncate(5);
  EXPECT_EQ(entries.size(), 3u);
  entries.Truncate(2);
  EXPECT_EQ(entries.size(), 2u);
}

TEST(ClassLabelsTest, AreIndicesOfSortedNames) {
  EntryList entries;
  ClassLabels labels;
  for (const char* name : {"dog", "cat", "dog", "bee"}) {
    entries.Add("picture");
    labels.Add(name);
  }
  entries.Truncate(3);  // the names are of all, as if nothing had been left out
  EXPECT_THAT(labels.Assign(entries), ElementsAre("bee", "cat", "dog"));
  EXPECT_EQ(entries.at(0).label, 2);
  EXPECT_EQ(entries.at(1).label, 1);
  EXPECT_EQ(entries.at(2).label, 2);
}

TEST(ClassLabelsTest, NobodyHasOneWhereOneHasNone) {
  EntryList entries;
  ClassLabels labels;
  for (const char* name : {"dog", ""}) {
    entries.Add("picture");
    labels.Add(name);
  }
  EXPECT_THAT(labels.Assign(entries), IsEmpty());
  EXPECT_EQ(entries.at(0).label, std::nullopt);
}

}  // namespace
}  // namespace afterimage::image_internal
