#include "core/feature/packed_pixels.h"

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"

namespace afterimage {
namespace {

using ::afterimage::testing::StatusIs;
using ::testing::HasSubstr;

// Patches of a picture that is smooth, with some noise in it.
std::vector<uint8_t> Smooth(size_t p, size_t num_rows, uint32_t noise = 6) {
  std::mt19937 random(1);
  std::vector<uint8_t> rows;
  for (size_t row = 0; row < num_rows; ++row) {
    for (size_t i = 0; i < p * p; ++i) {
      const double x = static_cast<double>(i % p), y = static_cast<double>(i / p + row);
      const uint32_t grey = static_cast<uint32_t>(128 + 90 * std::sin(x / 7 + y / 11)) + random() % noise;
      for (uint32_t c = 0; c < 3; ++c) rows.push_back(static_cast<uint8_t>(grey + 20 * c + random() % 2));
    }
  }
  return rows;
}

std::vector<uint8_t> Unpacked(const std::vector<uint8_t>& bytes, size_t p, size_t num_rows,
                              const std::vector<uint16_t>& wanted = {}) {
  std::vector<uint8_t> rows(3 * p * p * (wanted.empty() ? num_rows : wanted.size()));
  const auto pixels = PackedPixels::Open(bytes, static_cast<uint32_t>(num_rows), static_cast<uint32_t>(p));
  AFTERIMAGE_EXPECT_OK(pixels.status());
  if (pixels.ok()) {
    AFTERIMAGE_EXPECT_OK(pixels->Read(wanted, rows.data()));
  }
  return rows;
}

TEST(PackedPixelsTest, AreSmallerAndComeBackAsTheyWere) {
  for (const size_t p : {8, 14, 16, 32, 104}) {
    for (const size_t num_rows : {3, 4, 5, 59}) {
      if (p * num_rows > 3000) continue;
      const std::vector<uint8_t> rows = Smooth(p, num_rows);
      const std::vector<uint8_t> bytes = PackPixels(static_cast<uint32_t>(p), rows);
      if (bytes.empty()) {
        EXPECT_LT(rows.size(), 1200u);  // what the codes themselves take is too much
        continue;
      }
      EXPECT_LT(bytes.size(), 500 + rows.size() / 2);
      EXPECT_EQ(Unpacked(bytes, p, num_rows), rows) << p << " x " << num_rows;
    }
  }
}

TEST(PackedPixelsTest, ARowIsReadByItself) {
  const size_t p = 16, num_rows = 40, row_bytes = 3 * p * p;
  const std::vector<uint8_t> rows = Smooth(p, num_rows);
  std::vector<uint8_t> bytes = PackPixels(p, rows);
  for (const std::vector<uint16_t>& wanted : {std::vector<uint16_t>{39}, std::vector<uint16_t>{0, 39, 7},
                                              std::vector<uint16_t>{5, 4, 3, 2, 1, 30, 31}}) {
    const std::vector<uint8_t> some = Unpacked(bytes, p, num_rows, wanted);
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_TRUE(std::equal(some.begin() + static_cast<std::ptrdiff_t>(i * row_bytes),
                             some.begin() + static_cast<std::ptrdiff_t>((i + 1) * row_bytes),
                             rows.begin() + static_cast<std::ptrdiff_t>(wanted[i] * row_bytes)))
          << wanted[i];
    }
  }
  for (uint16_t count = 1; count <= 33; ++count) {  // whole batches of rows, and what is left of one
    std::vector<uint16_t> wanted(count);
    std::iota(wanted.begin(), wanted.end(), static_cast<uint16_t>(num_rows - count));
    EXPECT_EQ(Unpacked(bytes, p, num_rows, wanted),
              std::vector<uint8_t>(rows.end() - static_cast<std::ptrdiff_t>(count * row_bytes), rows.end()))
        << count;
  }
  // Damage in one row is not seen by those who read others.
  bytes[bytes.size() - 200] ^= 0xff;
  const PackedPixels pixels = PackedPixels::Open(bytes, num_rows, p).value();
  std::vector<uint8_t> row(row_bytes);
  AFTERIMAGE_ASSERT_OK(pixels.Read(std::vector<uint16_t>{3}, row.data()));
  EXPECT_TRUE(std::equal(row.begin(), row.end(), rows.begin() + 3 * row_bytes));
}

TEST(PackedPixelsTest, BothWaysAgreeOfDamagedBytesToo) {
  const size_t p = 14, num_rows = 29;
  std::vector<uint8_t> bytes = PackPixels(p, Smooth(p, num_rows));
  const size_t rows_at = 2 + 384 + 2 * num_rows, size = bytes.size() - rows_at - 8;
  std::mt19937 random(6);
  for (int i = 0; i < 300; ++i) {
    if (i > 0) bytes[rows_at + random() % size] ^= static_cast<uint8_t>(1 << random() % 8);
    const PackedPixels pixels = PackedPixels::Open(bytes, num_rows, p).value();
    for (uint16_t row = 0; row < num_rows; row += 9) {
      std::vector<uint16_t> wanted(12);
      for (uint16_t& one : wanted) one = static_cast<uint16_t>(random() % num_rows);
      wanted[0] = row;
      std::vector<uint8_t> widely(12 * 3 * p * p), portably(widely.size());
      EXPECT_EQ(pixels.Read(wanted, widely.data()), pixels.ReadPortably(wanted, portably.data()));
      EXPECT_EQ(widely, portably);
    }
  }
}

TEST(PackedPixelsTest, AGreyOrConstantPictureTakesNextToNothing) {
  const size_t p = 16, num_rows = 196;
  std::vector<uint8_t> rows(3 * p * p * num_rows, 77);
  std::vector<uint8_t> bytes = PackPixels(p, rows);
  EXPECT_LT(bytes.size(), 30'000u);
  EXPECT_EQ(Unpacked(bytes, p, num_rows), rows);
  std::mt19937 random(3);
  for (size_t i = 0; i < rows.size(); i += 3)
    rows[i] = rows[i + 1] = rows[i + 2] = static_cast<uint8_t>(random());
  bytes = PackPixels(p, rows);  // noise, but the same in all colours
  EXPECT_LT(static_cast<double>(bytes.size()), 0.35 * static_cast<double>(rows.size()));
  EXPECT_EQ(Unpacked(bytes, p, num_rows), rows);
}

TEST(PackedPixelsTest, WhatWouldNotBecomeSmallerStaysAsItIs) {
  std::mt19937 random(4);
  std::vector<uint8_t> noise(768 * 60);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  EXPECT_TRUE(PackPixels(16, noise).empty());
  EXPECT_TRUE(PackPixels(16, {}).empty());
  EXPECT_TRUE(PackPixels(105, Smooth(105, 2)).empty());  // too large a row
  EXPECT_TRUE(PackPixels(16, std::vector<uint8_t>(kMaxPackedPixelBytes / 768 * 768 + 768)).empty());
}

TEST(PackedPixelsTest, DamageIsDataLossAndNeverReadsBeyondTheBytes) {
  const size_t p = 16, num_rows = 13;
  const std::vector<uint8_t> rows = Smooth(p, num_rows);
  const std::vector<uint8_t> bytes = PackPixels(p, rows);
  const auto read = [&](const std::vector<uint8_t>& some) -> absl::Status {
    const std::vector<uint8_t> exact(some);  // an allocation of its own, for AddressSanitizer
    const auto pixels = PackedPixels::Open(exact, num_rows, p);
    if (!pixels.ok()) return pixels.status();
    std::vector<uint8_t> target(rows.size());
    return pixels->Read({}, target.data());
  };
  AFTERIMAGE_ASSERT_OK(read(bytes));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(read({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}),
                StatusIs(absl::StatusCode::kDataLoss))
        << size;
  }
  std::vector<uint8_t> damaged = bytes;
  damaged.push_back(0);
  EXPECT_THAT(read(damaged), StatusIs(absl::StatusCode::kDataLoss));
  for (const auto& [at, value, why] : {std::tuple(0, 3, "predictor 3"), std::tuple(1, 2, "colours 2"),
                                       std::tuple(2, 0xff, "code of 15 bits")}) {
    damaged = bytes;
    damaged[static_cast<size_t>(at)] = static_cast<uint8_t>(value);
    EXPECT_THAT(read(damaged), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(why)));
  }
  // Grey patches, of whose red and blue nothing is stored: the last row's green leads beyond the bytes.
  std::vector<uint8_t> grey = rows;
  for (size_t i = 0; i < grey.size(); i += 3) grey[i] = grey[i + 2] = grey[i + 1];
  damaged = PackPixels(p, grey);
  AFTERIMAGE_ASSERT_OK(read(damaged));
  damaged.erase(damaged.end() - 10, damaged.end() - 8);
  const size_t size_at = 2 + 384 + (num_rows - 1) * 2;  // of the last row
  damaged[size_at] = static_cast<uint8_t>(damaged[size_at] - 2);
  EXPECT_THAT(read(damaged), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("codes of patch row 12")));
  std::mt19937 random(2);
  size_t num_found = 0;
  for (int i = 0; i < 5000; ++i) {  // whatever comes out, nothing is written or read outside
    damaged = bytes;
    for (int k = 0; k < 3; ++k)
      damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    num_found += read(damaged).ok() ? 0 : 1;
  }
  EXPECT_GT(num_found, 2000u);
}

}  // namespace
}  // namespace afterimage
