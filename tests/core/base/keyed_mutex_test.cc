#include "core/base/keyed_mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace afterimage {
namespace {

using StringMutex = KeyedMutex<std::string>;

TEST(KeyedMutexTest, OneKeyIsHeldByOne) {
  StringMutex mutex;
  int count = 0;  // no atomic: the mutex has to do
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10'000; ++k) {
        const StringMutex::Lock lock(mutex, "key");
        ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 40'000);
}

TEST(KeyedMutexTest, AnotherKeyIsFreeMeanwhile) {
  StringMutex mutex;
  std::atomic<bool> got_same = false;
  std::thread same;
  {
    const StringMutex::Lock held(mutex, "slow");
    same = std::thread([&] {
      const StringMutex::Lock lock(mutex, "slow");
      got_same = true;
    });
    std::thread([&] { const StringMutex::Lock lock(mutex, "other"); }).join();  // hangs if it is not free
    EXPECT_FALSE(got_same);
  }
  same.join();
  EXPECT_TRUE(got_same);
}

TEST(KeyedMutexTest, KeepsNoKeyThatNobodyHolds) {
  StringMutex mutex;
  for (int i = 0; i < 100; ++i) {
    const StringMutex::Lock lock(mutex, std::to_string(i));
    EXPECT_EQ(mutex.num_keys(), 1u);
  }
  EXPECT_EQ(mutex.num_keys(), 0u);
}

}  // namespace
}  // namespace afterimage
