#include "cache_server/precompute/plan.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/progress.h"
#include "core/base/status_macros.h"
#include "core/base/stop_signal.h"
#include "core/feature/encode_for_set.h"
#include "core/feature/feature_block.h"
#include "core/image/decode.h"
#include "core/view/view.h"

namespace afterimage {
namespace {

constexpr uint64_t kMaxUnitBytes = 256'000'000;   // per view seed: one SST
constexpr size_t kProbeImages = 64;
constexpr absl::Duration kProbeTime = absl::Seconds(2);

// Key and value overhead of a plain SST is below 1 % at our record sizes; index and filter are counted as that.
constexpr double kStoreOverhead = 1.01;

double Rate(uint64_t count, absl::Duration duration) {
  return static_cast<double>(count) / std::max(1e-6, absl::ToDoubleSeconds(duration));
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const PlanInput& input, const ImageIndex& images, TeacherRunner& teacher) {
  const std::vector<ImageKey>& keys = images.manifest().keys();
  if (keys.empty()) return absl::InvalidArgumentError("there are no images to plan for");

  // Views of images spread over the key space, until the time or the number is up.
  std::vector<View> views;
  std::vector<RecordKey> view_keys;
  absl::Status first_error;
  const size_t stride = std::max<size_t>(1, keys.size() / kProbeImages);
  const absl::Time decode_start = absl::Now();
  for (size_t i = 0; i < keys.size() && views.size() < kProbeImages; i += stride) {
    if (StopRequested()) return absl::CancelledError("stopped while planning; nothing was computed");
    absl::StatusOr<RgbImage> image = images.ReadImage(keys[i]);
    if (!image.ok()) {
      if (first_error.ok()) first_error = WithContext(image.status(), images.NameOf(keys[i]));
      continue;
    }
    const ViewSpec& spec = input.description.feature.view;
    AFTERIMAGE_ASSIGN_OR_RETURN(
        View view, MakeView(*image, spec, DrawViewGeometry(keys[i], spec, 0, image->width, image->height)));
    views.push_back(std::move(view));
    view_keys.push_back({keys[i], 0});
    if (absl::Now() - decode_start > kProbeTime && views.size() >= teacher.micro_batch()) break;
  }
  if (views.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("none of the probed images can be decoded; the first: ", first_error.message()));
  }
  const double decode_rate_one = Rate(views.size(), absl::Now() - decode_start);

  const std::span<const View> all(views);
  const size_t micro_batch = std::min<size_t>(teacher.micro_batch(), views.size());
  AFTERIMAGE_ASSIGN_OR_RETURN(std::vector<FeatureRecord> records,
                              teacher.Run(all.first(micro_batch), input.description.set.levels));  // warms up
  const absl::Time teacher_start = absl::Now();
  uint64_t views_run = 0;
  do {
    AFTERIMAGE_RETURN_IF_ERROR(teacher.Run(all.first(micro_batch), input.description.set.levels).status());
    views_run += micro_batch;
  } while (absl::Now() - teacher_start < kProbeTime / 2 && !StopRequested());
  const double teacher_rate = Rate(views_run, absl::Now() - teacher_start);

  Plan plan;
  double bytes = 0, pixel_bytes = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    const absl::StatusOr<std::string> block =
        EncodeForSet(input.description, input.profile, view_keys[i], records[i]);
    if (!block.ok()) return WithContext(block.status(), absl::StrCat("record ", view_keys[i].ToString()));
    bytes += static_cast<double>(block->size());
    AFTERIMAGE_ASSIGN_OR_RETURN(const FeatureBlock parsed, FeatureBlock::Parse(AsBytes(*block)));
    pixel_bytes += static_cast<double>(parsed.PixelBytes());
  }
  plan.num_images = keys.size();
  plan.num_records = keys.size() * uint64_t{input.num_view_seeds};
  plan.records_to_compute = plan.num_records - std::min(plan.num_records, input.records_present);
  plan.record_bytes = bytes / static_cast<double>(records.size());
  plan.pixel_share = bytes == 0 ? 0 : pixel_bytes / bytes;
  plan.total_bytes = static_cast<uint64_t>(plan.record_bytes * kStoreOverhead * static_cast<double>(plan.num_records));
  plan.teacher_rate = teacher_rate;
  plan.decode_rate = decode_rate_one * std::max(1, input.num_decode_threads);
  const double rate = std::min(plan.teacher_rate, plan.decode_rate);
  plan.time = absl::Seconds(static_cast<double>(plan.records_to_compute) / rate);
  plan.repeats_per_view = static_cast<double>(input.planned_epochs) / input.num_view_seeds;
  plan.masks_per_view = input.description.set.token_policy == TokenPolicy::kVisible
                            ? input.description.set.mask.num_masks
                            : static_cast<uint32_t>(std::ceil(plan.repeats_per_view));
  plan.break_even_epochs = input.num_view_seeds * plan.teacher_rate / rate;
  plan.limit = plan.teacher_rate <= plan.decode_rate ? "teacher" : "decoding";
  if (!input.cache_folder.empty()) {
    std::error_code ignored;
    std::filesystem::path folder = input.cache_folder;
    while (!folder.empty() && !std::filesystem::exists(folder, ignored)) {
      if (folder == folder.parent_path()) break;
      folder = folder.parent_path();
    }
    const std::filesystem::space_info space = std::filesystem::space(folder.empty() ? "." : folder, ignored);
    if (!ignored) plan.free_bytes = space.available;
    const double to_write = plan.record_bytes * kStoreOverhead * static_cast<double>(plan.records_to_compute);
    if (plan.free_bytes != 0 && static_cast<double>(plan.free_bytes) < to_write) plan.limit = "disk";
  }
  return plan;
}

std::string Plan::ToText() const {
  std::string text;
  absl::StrAppendFormat(&text, "plan      %d images, %d view records, %d to compute\n", num_images, num_records,
                        records_to_compute);
  absl::StrAppendFormat(&text, "  size    %s a record (pixels %.0f %%), %s in all", HumanBytes(static_cast<uint64_t>(record_bytes)),
                        100 * pixel_share, HumanBytes(total_bytes));
  absl::StrAppend(&text, free_bytes == 0 ? "" : absl::StrCat(", ", HumanBytes(free_bytes), " free"), "\n");
  absl::StrAppendFormat(&text, "  time    %s (teacher %.1f views/s, decoding %.0f views/s; limited by %s)\n",
                        HumanDuration(time), teacher_rate, decode_rate, limit);
  absl::StrAppendFormat(&text, "  repeats each view %.1f times in the planned epochs, %d masks per view\n", repeats_per_view,
                        masks_per_view);
  absl::StrAppendFormat(&text, "  pays    after %.1f epochs of training that would run the teacher\n", break_even_epochs);
  return text;
}

std::string Plan::ToJson() const {
  return Json{{"event", "plan"},
              {"images", num_images},
              {"records", num_records},
              {"records_to_compute", records_to_compute},
              {"record_bytes", record_bytes},
              {"pixel_share", pixel_share},
              {"total_bytes", total_bytes},
              {"free_bytes", free_bytes},
              {"seconds", absl::ToDoubleSeconds(time)},
              {"teacher_views_per_second", teacher_rate},
              {"decode_views_per_second", decode_rate},
              {"repeats_per_view", repeats_per_view},
              {"masks_per_view", masks_per_view},
              {"break_even_epochs", break_even_epochs},
              {"limit", limit}}
      .dump();
}

UnitLayout ChooseLayout(uint64_t num_images, double record_bytes, double views_per_second, absl::Duration unit_time) {
  const double by_bytes = static_cast<double>(num_images) * record_bytes / static_cast<double>(kMaxUnitBytes);
  const double by_time = static_cast<double>(num_images) / std::max(1.0, views_per_second * absl::ToDoubleSeconds(unit_time));
  UnitLayout layout;
  layout.num_shards = static_cast<uint32_t>(std::clamp(std::ceil(std::max(by_bytes, by_time)), 1.0, 65536.0));
  return layout;
}

}  // namespace afterimage
