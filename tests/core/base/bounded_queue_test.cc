#include "core/base/bounded_queue.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"

namespace afterimage {
namespace {

using ::testing::Optional;

TEST(BoundedQueueTest, KeepsOrder) {
  BoundedQueue<int> queue(3);
  EXPECT_TRUE(queue.Push(1));
  EXPECT_TRUE(queue.Push(2));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_THAT(queue.Pop(), Optional(1));
  EXPECT_THAT(queue.Pop(), Optional(2));
  EXPECT_EQ(queue.size(), 0u);
}

TEST(BoundedQueueTest, CarriesMoveOnlyItems) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  EXPECT_TRUE(queue.Push(std::make_unique<int>(7)));
  EXPECT_EQ(**queue.Pop(), 7);
}

TEST(BoundedQueueTest, CloseDrainsWhatIsQueuedAndRefusesMore) {
  BoundedQueue<int> queue(3);
  queue.Push(1);
  queue.Close();
  EXPECT_FALSE(queue.Push(2));
  EXPECT_THAT(queue.Pop(), Optional(1));
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, AbortDropsWhatIsQueued) {
  BoundedQueue<int> queue(3);
  queue.Push(1);
  queue.Abort();
  EXPECT_EQ(queue.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, CloseWakesBlockedConsumersAndProducers) {
  BoundedQueue<int> empty(1);
  BoundedQueue<int> full(1);
  full.Push(1);
  std::thread consumer([&] { EXPECT_EQ(empty.Pop(), std::nullopt); });
  std::thread producer([&] { EXPECT_FALSE(full.Push(2)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  empty.Close();
  full.Close();
  consumer.join();
  producer.join();
  EXPECT_THAT(full.Pop(), Optional(1));
  EXPECT_EQ(full.Pop(), std::nullopt);
}

TEST(BoundedQueueTest, ManyThreadsLoseAndRepeatNothingAndNeverExceedTheCapacity) {
  constexpr int kNumProducers = 3;
  constexpr int kNumConsumers = 3;
  constexpr int kNumItems = 2000;  // of each producer
  BoundedQueue<int> queue(4);
  std::atomic<bool> exceeded{false};
  std::vector<std::vector<int>> received(kNumConsumers);
  std::vector<std::thread> producers, consumers;
  for (int p = 0; p < kNumProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kNumItems; ++i) queue.Push(p * kNumItems + i);
    });
  }
  for (int c = 0; c < kNumConsumers; ++c) {
    consumers.emplace_back([&, c] {
      while (std::optional<int> item = queue.Pop()) {
        received[c].push_back(*item);
        if (queue.size() > queue.capacity()) exceeded = true;
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();

  EXPECT_FALSE(exceeded);
  std::vector<int> all;
  for (const std::vector<int>& part : received) {
    std::vector<int> last(kNumProducers, -1);  // each consumer sees each producer's items in order
    for (int item : part) {
      EXPECT_GT(item, last[item / kNumItems]);
      last[item / kNumItems] = item;
    }
    all.insert(all.end(), part.begin(), part.end());
  }
  EXPECT_EQ(all.size(), static_cast<size_t>(kNumProducers * kNumItems));
  EXPECT_EQ(std::set<int>(all.begin(), all.end()).size(), all.size());
}

}  // namespace
}  // namespace afterimage
