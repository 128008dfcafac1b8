// A teacher without a network: features are a cheap pure function of the view's pixels.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/feature/feature_record.h"
#include "core/vit/teacher_runner.h"

namespace afterimage::testing {

// 3 levels x 8 channels over a 4 x 4 grid of an 8 px view. Header-only, knows no LibTorch.
class FakeTeacher : public TeacherRunner {
 public:
  explicit FakeTeacher(std::chrono::milliseconds time_per_call = {}) : time_per_call_(time_per_call) {}

  TeacherGeometry geometry() const override { return {.num_levels = 3, .width = 8, .grid = 4}; }
  Json TeacherSpec() const override { return {{"family", "fake"}, {"version", 1}}; }
  Json PreprocessingSpec() const override { return {{"mean", Json::array({"0.5", "0.5", "0.5"})}}; }
  uint32_t view_size() const override { return 8; }
  uint32_t micro_batch() const override { return 4; }
  std::string DeviceDescription() const override { return "fake"; }
  double ForwardMacs() const override { return 1000; }
  uint64_t views_seen() const { return views_seen_; }
  // Breaks what is computed from now on, as damaged weights would.
  void set_change(std::function<void(FeatureRecord&)> change) { change_ = std::move(change); }

  absl::StatusOr<std::vector<FeatureRecord>> Run(std::span<const View> views, std::span<const uint32_t> levels) override {
    std::this_thread::sleep_for(time_per_call_);
    views_seen_ += views.size();
    std::vector<FeatureRecord> records;
    for (const View& view : views) {
      records.push_back(RecordOf(view, levels));
      if (change_) change_(records.back());
    }
    return records;
  }

  absl::StatusOr<std::vector<float>> Embed(std::span<const View> views) override {
    return std::vector<float>(views.size() * geometry().width, 1.0f);
  }

  FeatureRecord RecordOf(const View& view, std::span<const uint32_t> levels) const {
    const TeacherGeometry g = geometry();
    FeatureRecord record;
    record.geometry = view.geometry;
    record.view_digest = view.digest;
    record.view_size = view_size();
    record.grid = g.grid;
    record.pixels = ToPatchMajor(view.pixels, g.grid);
    for (uint32_t patch = 0; patch < g.num_patches(); ++patch) {
      record.importance.push_back(1.0f + record.pixels[patch * 12]);
    }
    for (uint32_t token = 0; token < g.num_tokens(); ++token) record.tokens.push_back(static_cast<uint16_t>(token));
    for (uint32_t level : levels) {
      LevelFeatures features{.level = level, .width = g.width, .values = {}, .mean = {}, .inverse_deviation = {}};
      for (uint32_t i = 0; i < g.num_tokens() * g.width; ++i) {
        features.values.push_back(static_cast<float>(record.pixels[(i * 7 + level) % record.pixels.size()]) / 64.0f - 2.0f);
      }
      features.mean.assign(g.num_tokens(), 0.25f);
      features.inverse_deviation.assign(g.num_tokens(), 1.0f);
      record.levels.push_back(std::move(features));
    }
    return record;
  }

 private:
  const std::chrono::milliseconds time_per_call_;
  std::function<void(FeatureRecord&)> change_;
  std::atomic<uint64_t> views_seen_{0};
};

}  // namespace afterimage::testing
